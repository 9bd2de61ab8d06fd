"""The weights of LPIPS: files that a person names, read without PyTorch and checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.full_card import digest_key, weights_key
from tfdeblur.metrics.lpips import NETWORKS, Lpips, Part, check
from tfdeblur.metrics.protocols import LPIPS
from tfdeblur.porting import reading

_PARTS: tuple[Part, ...] = ("backbone", "heads")


def open_lpips(
    networks: Sequence[str], paths: Sequence[str]
) -> tuple[dict[str, Lpips], dict[str, Any]]:
    """Reads the distances that are asked for.

    Args:
        networks: Keys of `tfdeblur.metrics.lpips.NETWORKS`; none for none.
        paths: For each of them two files, the network's and the heads', of any kind that
            `tfdeblur.porting.reading` reads.

    Returns:
        The distances by their key in `protocols.MEASURES`; and for the score card, the
        files, which of them are not the published ones, and the SHA-256 of all weights.

    Raises:
        UserError: There are more or fewer files than wanted, a network is named twice, or a file
            cannot be read.
        DataError: A file is damaged, of another network, or of another version of LPIPS.
    """
    if len(set(networks)) < len(networks):
        raise UserError(f"lpips: {' '.join(networks)} names a network twice.")
    if len(paths) != len(_PARTS) * len(networks):
        wanted = [NETWORKS[network].where(part) for network in networks for part in _PARTS]
        raise UserError(
            f"lpips_weights: {len(paths)} files for {len(networks)} networks of --lpips. "
            + (f"Give {' and '.join(wanted)}." if wanted else "Give --lpips alex or --lpips vgg.")
        )
    found: dict[str, Lpips] = {}
    about: dict[str, Any] = {}
    for place, network in enumerate(networks):
        key = f"{LPIPS}{network}"
        pair = paths[len(_PARTS) * place :][: len(_PARTS)]
        found[key], about[weights_key(key)] = _open(network, pair)
        about[digest_key(key)] = found[key].sha256
    return found, about


def _open(network: str, paths: Sequence[str]) -> tuple[Lpips, dict[str, Any]]:
    known = NETWORKS[network]
    arrays: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {}
    unknown = []
    for part, path in zip(_PARTS, paths, strict=True):
        file = reading.read(path)
        if file.sha256 == known.outdated:
            raise DataError(
                f"{path} holds the heads of LPIPS 0.0, which go with images that are not scaled. "
                f"Give {known.where(part)}."
            )
        check(network, part, path, file.arrays)
        arrays.update(file.arrays)
        about[part] = path
        if not file.sha256.startswith(known.digests[part]):
            unknown.append(part)
    if unknown:
        about["not recognized"] = " and ".join(unknown)
    return Lpips(network, arrays), about
