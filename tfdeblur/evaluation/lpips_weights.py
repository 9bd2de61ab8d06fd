"""Reads and checks the weights of LPIPS and DISTS, without PyTorch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.scores import digest_key, weights_key
from tfdeblur.metrics import METRICS, Metric, dists
from tfdeblur.metrics.lpips import NETWORKS, Lpips, Part, check
from tfdeblur.porting import reading

_PARTS: tuple[Part, ...] = ("backbone", "heads")


def open_lpips(
    networks: Sequence[str], paths: Sequence[str]
) -> tuple[list[Metric], dict[str, Any]]:
    """Reads the weights of LPIPS for some networks.

    Args:
        networks: Keys of `tfdeblur.metrics.lpips.NETWORKS`.
        paths: For each of them two files, the backbone's and the linear heads', of any kind that
            `tfdeblur.porting.reading` reads.

    Returns:
        The metrics, ready to compute; and for the score card, the files, which of them are not the
        published ones, and the SHA-256 of all weights.

    Raises:
        UserError: The number of files is wrong, a network is repeated, or a file cannot be read.
        DataError: A file is damaged, of another network, or of another version of LPIPS.
    """
    if len(set(networks)) < len(networks):
        raise UserError(f"lpips: {' '.join(networks)} repeats a network.")
    if len(paths) != len(_PARTS) * len(networks):
        wanted = [NETWORKS[network].where(part) for network in networks for part in _PARTS]
        raise UserError(
            f"lpips_weights: {len(paths)} files for {len(networks)} networks of --lpips. "
            + (f"Give {' and '.join(wanted)}." if wanted else "Give --lpips alex or --lpips vgg.")
        )
    found: list[Metric] = []
    about: dict[str, Any] = {}
    for place, network in enumerate(networks):
        key = f"lpips_{network}"
        pair = paths[len(_PARTS) * place :][: len(_PARTS)]
        lpips, about[weights_key(key)] = _open(network, pair)
        about[digest_key(key)] = lpips.sha256
        found.append(
            dataclasses.replace(METRICS[key], compute=lpips.distance, prepare=lpips.features)
        )
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
                f"{path} holds the heads of LPIPS 0.0, which does not scale images. Give "
                f"{known.where(part)}."
            )
        check(network, part, path, file.arrays)
        arrays.update(file.arrays)
        about[part] = path
        if not file.sha256.startswith(known.digests[part]):
            unknown.append(part)
    if unknown:
        about["not recognized"] = " and ".join(unknown)
    return Lpips(network, arrays), about


def open_dists(paths: Sequence[str]) -> tuple[list[Metric], dict[str, Any]]:
    """Reads the weights of DISTS.

    Args:
        paths: Two files, VGG16's and the channels', of any kind that `tfdeblur.porting.reading`
            reads; none for no metric.

    Returns:
        As for `open_lpips`.

    Raises:
        UserError: The number of files is wrong, or a file cannot be read.
        DataError: A file is damaged or of another network.
    """
    if not paths:
        return [], {}
    network = NETWORKS[dists.NETWORK]
    if len(paths) != 2:
        raise UserError(
            f"dists_weights: {len(paths)} files. Give {network.where('backbone')} and {dists.FILE}."
        )
    backbone, channels = map(reading.read, paths)
    check(dists.NETWORK, "backbone", backbone.path, backbone.arrays)
    dists.check(channels.path, channels.arrays)
    distance = dists.Dists({**backbone.arrays, **channels.arrays})
    about: dict[str, Any] = {"backbone": backbone.path, "channels": channels.path}
    if not backbone.sha256.startswith(network.digests["backbone"]):
        about["not recognized"] = "backbone"
    metric = dataclasses.replace(
        METRICS[dists.KEY], compute=distance.distance, prepare=distance.features
    )
    return [metric], {
        weights_key(dists.KEY): about,
        digest_key(dists.KEY): distance.sha256,
    }
