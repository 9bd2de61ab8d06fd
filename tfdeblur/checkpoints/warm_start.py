"""Starting from weights of another run, and saying what of them fitted."""

import dataclasses
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py

from tfdeblur.checkpoints.manifest import WEIGHTS
from tfdeblur.checkpoints.weights import checkpoint_folder, stored_weights
from tfdeblur.errors import DataError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

_IN_KERAS_ARCHIVE = "model.weights.h5"


@dataclasses.dataclass(frozen=True)
class Match:
    """What became of each array when weights were taken over.

    Attributes:
        matched: Arrays taken over: same place in the network, same shape.
        reshaped: Same place, another shape; the network's own initial values stay.
        missing: In the network, not in the file; initial values stay.
        unused: In the file, not in the network.
    """

    matched: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Returns one line for the terminal."""
        line = (
            f"{len(self.matched)} arrays taken over, {len(self.reshaped)} of another shape, "
            f"{len(self.missing)} not in the file, {len(self.unused)} of the file unused"
        )
        strays = (*self.reshaped, *self.missing, *self.unused)
        return line + (f" (first: {', '.join(strays[:3])})" if strays else "")


def init_from(path: str, generator: Generator) -> Match:
    """Takes over every array of a run, checkpoint or weights file that fits.

    Args:
        path: A work directory, a checkpoint's folder, or a ``.weights.h5`` or ``.keras`` file.
        generator: Its network's weights are set where place and shape agree.

    Returns:
        What matched and what did not.

    Raises:
        DataError: The file cannot be read, or nothing in it fits.
    """
    source = _arrays(path)
    with tempfile.TemporaryDirectory() as local:
        # Keras's own file of this network says where each array belongs.
        target_path = str(Path(local) / WEIGHTS)
        generator.network.save_weights(target_path)
        target = stored_weights(target_path)
        same_place = source.keys() & target.keys()
        matched = {name for name in same_place if source[name].shape == target[name].shape}
        if not matched:
            raise DataError(
                f"Nothing in {path} fits a {generator.name}: none of its {len(source)} arrays has "
                f"the place and shape of one of the network's {len(target)}."
            )
        with h5py.File(target_path, "r+") as file:
            for name in matched:
                file[name][...] = source[name]
        generator.network.load_weights(target_path)
    return Match(
        matched=tuple(sorted(matched)),
        reshaped=tuple(sorted(same_place - matched)),
        missing=tuple(sorted(target.keys() - source.keys())),
        unused=tuple(sorted(source.keys() - target.keys())),
    )


def _arrays(path: str) -> dict[str, Any]:
    if files.is_dir(path):
        return stored_weights(files.join(checkpoint_folder(path), WEIGHTS))
    if not path.endswith(".keras"):
        return stored_weights(path)
    try:
        with zipfile.ZipFile(io.BytesIO(files.read_bytes(path))) as archive:
            weights = archive.read(_IN_KERAS_ARCHIVE)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not a model saved by Keras: {error}.") from error
    with tempfile.TemporaryDirectory() as local:
        copy = Path(local) / WEIGHTS
        copy.write_bytes(weights)
        return stored_weights(str(copy))
