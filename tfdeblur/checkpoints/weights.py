"""Weights of a generator: writing, reading, and finding the checkpoint that holds them."""

import errno
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py

from tfdeblur.checkpoints.manifest import META, WEIGHTS, is_checkpoint, verify_checkpoint
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.models import create
from tfdeblur.models.generator import Generator

CHECKPOINTS = "checkpoints"
BEST = "best"

# Bytes of one weight at most, and what HDF5 adds to an array at most.
_WIDEST = 4
_H5_OVERHEAD = 4096


def write_weights(folder: str, generator: Generator) -> None:
    """Writes the generator's weights; HDF5 needs a local file, so they pass through one.

    Raises:
        OSError: There is no room for them.
    """
    with tempfile.TemporaryDirectory() as local:
        path = str(Path(local) / WEIGHTS)
        _ask_for_room(path, generator)
        generator.network.save_weights(path)
        files.write_bytes(files.join(folder, WEIGHTS), Path(path).read_bytes())


def _ask_for_room(path: str, generator: Generator) -> None:
    """Raises an OSError where a weights file would not fit: HDF5 ends the process instead."""
    if not hasattr(os, "posix_fallocate"):
        return
    arrays = generator.network.weights
    needed = sum(math.prod(array.shape) * _WIDEST + _H5_OVERHEAD for array in arrays)
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        # Some file systems know no reservation; a full one says so by another number.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        Path(path).unlink(missing_ok=True)


def read_weights(path: str, generator: Generator) -> None:
    """Reads weights written by `write_weights` into a generator of the same architecture.

    Raises:
        DataError: The file is damaged or belongs to another architecture.
    """
    with tempfile.TemporaryDirectory() as local:
        copy = Path(local) / WEIGHTS
        copy.write_bytes(files.read_bytes(path))
        try:
            generator.network.load_weights(str(copy))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path} does not hold the weights of a {generator.name}: {error}"
            ) from error


def stored_weights(path: str) -> dict[str, Any]:
    """Returns every array in a weights file of Keras by its path inside the file."""
    arrays: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with tempfile.TemporaryDirectory() as local:
        copy = Path(local) / "any.weights.h5"
        copy.write_bytes(files.read_bytes(path))
        try:
            with h5py.File(copy, "r") as file:
                file.visititems(collect)
        except OSError as error:
            raise DataError(f"{path} is not a weights file of Keras: {error}.") from error
    return arrays


def checkpoint_folder(path: str, which: str = "best") -> str:
    """Finds the checkpoint meant by a work directory or a checkpoint's own folder.

    Args:
        path: Either of the two.
        which: ``best`` (the newest one where no validation has named a best yet) or ``last``.

    Raises:
        UserError: There is none.
    """
    if is_checkpoint(path):
        return path
    for kind in (BEST, CHECKPOINTS) if which == "best" else (CHECKPOINTS,):
        folder = files.join(path, kind)
        counts = list_checkpoints(folder)
        if counts:
            return files.join(folder, f"{counts[-1]:012d}")
    raise UserError(
        f"{path} holds no checkpoint: neither {META} (a checkpoint), nor {BEST}/ or "
        f"{CHECKPOINTS}/ (a work directory of tfdeblur.train)."
    )


def load_generator(path: str, which: str = "best") -> tuple[Generator, dict[str, Any]]:
    """Builds the generator of a trained run and restores its weights.

    Args:
        path: A work directory or a checkpoint's folder.
        which: ``best`` or ``last``, for a work directory.

    Returns:
        The generator, and the checkpoint's ``meta.json`` with its ``folder`` added.

    Raises:
        UserError: There is no checkpoint.
        DataError: It is damaged.
    """
    folder = checkpoint_folder(path, which)
    meta = verify_checkpoint(folder)
    options = dict(meta["model"])
    generator = create(options.pop("name"), options)
    read_weights(files.join(folder, WEIGHTS), generator)
    return generator, {**meta, "folder": folder}
