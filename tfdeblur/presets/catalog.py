"""Finds presets by name: in the package, or downloaded to a cache.

Small weights are in the package; others are downloaded when they are first used, to
``$TFDEBLUR_CACHE`` (``~/.cache/tfdeblur`` if unset), and compared with their SHA-256.
"""

import hashlib
import http.client
import os
import pathlib
import urllib.parse
import urllib.request

import tqdm

from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.presets.preset import FACTS, WEIGHTS, Preset, parse, to_yaml
from tfdeblur.registry import did_you_mean

CACHE_VARIABLE = "TFDEBLUR_CACHE"

DEFAULT = "nafnet16-photo"
"""Restores photographs where no other network is named."""

_FOLDER = pathlib.Path(__file__).parent
_PART = 1 << 20
_SECONDS = 30


def names() -> list[str]:
    """Returns the names of all presets, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{FACTS}"))


def load(name: str) -> Preset:
    """Returns the facts about a preset.

    Raises:
        UserError: No preset has that name; near names are suggested.
    """
    known = names()
    if name not in known:
        raise UserError(f"There is no preset {name!r}.{did_you_mean(name, known)}")
    path = _FOLDER / name / FACTS
    return parse(path.read_text("utf-8"), str(path))


def find(path_or_name: str) -> str:
    """Returns the folder of a preset if given its name, else an existing path as it is.

    Args:
        path_or_name: A path, which wins if it exists, or the name of a preset, whose weights are
            downloaded if they are neither in the package nor in the cache. Anything
            with a slash is a path.

    Raises:
        UserError: A name without a slash is neither a path that exists nor a preset, and near names
            are suggested; or the weights cannot be downloaded.
        DataError: The downloaded weights do not have the SHA-256 of the preset.
    """
    if "/" in path_or_name or files.exists(path_or_name):
        return path_or_name
    known = names()
    if path_or_name not in known:
        raise UserError(
            f"{path_or_name} does not exist, and no preset has that name."
            f"{did_you_mean(path_or_name, known)}"
        )
    folder = _FOLDER / path_or_name
    return str(folder) if (folder / WEIGHTS).exists() else _cached(load(path_or_name))


def cache_folder() -> str:
    """Returns the folder of downloaded weights."""
    default = os.path.join("~", ".cache", "tfdeblur")
    return os.path.expanduser(os.environ.get(CACHE_VARIABLE) or default)


def _cached(preset: Preset) -> str:
    """Returns the folder of a preset in the cache, where it is completed if necessary."""
    # Other versions of the library may know other weights by this name.
    folder = files.join(cache_folder(), f"{preset.name}-{preset.weights.sha256[:12]}")
    weights, facts = files.join(folder, WEIGHTS), files.join(folder, FACTS)
    if not files.exists(weights):
        files.make_dirs(folder)
        _download(preset, weights)
    text = to_yaml(preset)
    if not files.exists(facts) or files.read_text(facts) != text:
        files.write_text(facts, text)
    return folder


def _download(preset: Preset, path: str) -> None:
    url = preset.weights.url
    if url is None:
        raise DataError(
            f"The weights of {preset.name} are missing from the package. Install tfdeblur again."
        )
    digest = hashlib.sha256()
    shown = tqdm.tqdm(
        desc=preset.name, total=preset.weights.bytes, unit="B", unit_scale=True, disable=None
    )
    with files.open_new(path) as file, shown:
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as reply:
                while part := reply.read(_PART):
                    digest.update(part)
                    file.write(part)
                    shown.update(len(part))
        except (OSError, http.client.HTTPException) as error:
            host = urllib.parse.urlsplit(url).hostname
            raise UserError(
                f"{preset.name} cannot be downloaded from {url} ({error}). If this machine cannot "
                f"reach {host}, download the file elsewhere and store it as {path}; "
                f"{CACHE_VARIABLE} moves that folder."
            ) from error
        if digest.hexdigest() != preset.weights.sha256:
            raise DataError(
                f"{url} was refused: its SHA-256 is {digest.hexdigest()}, and {preset.name} "
                f"states {preset.weights.sha256}. Nothing was stored."
            )
