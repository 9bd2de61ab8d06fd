"""Initialising a generator from the weights of another run, as far as they fit."""

import dataclasses
from pathlib import Path

import h5py

from tfdeblur.checkpoints.arrays import (
    Arrays,
    assign_arrays,
    read_arrays,
    to_arrays,
    weight_variables,
)
from tfdeblur.checkpoints.manifest import read_meta, verify_checkpoint, weights_file
from tfdeblur.checkpoints.weights import checkpoint_folder
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.io.array_files import read_hdf5, read_member
from tfdeblur.models.generator import Generator
from tfdeblur.presets import find

_IN_KERAS_ARCHIVE = "model.weights.h5"
_CONVERTIBLE = (".pth", ".pt", ".npz")


@dataclasses.dataclass(frozen=True)
class Match:
    """Names of the arrays of the network and of the file, by how they match.

    Attributes:
        matched: Copied: same name and shape in both.
        reshaped: Same name, different shape; the network's initial values stay.
        missing: In the network only; its initial values stay.
        unused: In the file only.
    """

    matched: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Returns one line for the terminal."""
        line = (
            f"{len(self.matched)} arrays copied, {len(self.reshaped)} of another shape, "
            f"{len(self.missing)} not in the file, {len(self.unused)} of the file unused"
        )
        others = (*self.reshaped, *self.missing, *self.unused)
        return line + (f" (first: {', '.join(others[:3])})" if others else "")


def init_from(path: str, generator: Generator, *, partial: bool = False) -> Match:
    """Copies every array of a run, checkpoint or weights file that fits the network.

    Names such as ``conv2d/kernel`` are common, so a few arrays of any network fit by chance.

    Args:
        path: A work directory, the folder of a checkpoint or preset, a ``.safetensors``,
            ``.weights.h5`` or ``.keras`` file, or the name of a preset.
        generator: Its network's weights are set where name and shape agree.
        partial: Whether fewer than half of its arrays may be set.

    Returns:
        What matched and what did not.

    Raises:
        DataError: The file cannot be read, belongs to another network, nothing in it fits, or too
            little without `partial`. No weight is set then.
    """
    path = find(path)
    if files.is_dir(path):
        folder = checkpoint_folder(path)
        meta = verify_checkpoint(folder)
        if meta["model"]["name"] != generator.name:
            # Layers of different networks may share a few generic names and shapes.
            raise DataError(
                f"{folder} holds the weights of a {meta['model']['name']}, not of a "
                f"{generator.name}."
            )
        path = files.join(folder, weights_file(meta))
    if not files.exists(path):
        raise UserError(f"{path} does not exist.")
    if path.lower().endswith(_CONVERTIBLE):
        raise DataError(
            f"{path} must be converted first: python -m tfdeblur.convert --weights {path} --out "
            "FOLDER, then name that folder."
        )
    if not path.endswith(".safetensors"):
        return _init_from_keras(path, generator, partial)
    variables = weight_variables(generator.network)
    target = to_arrays(variables)
    source = read_arrays(path)
    match = _compare(source, target, path, generator, partial)
    assign_arrays(variables, {**target, **{name: source[name] for name in match.matched}})
    return match


def images_seen_by(path: str) -> int:
    """Returns the number of images that weights have been trained on.

    Args:
        path: As for `init_from`.

    Raises:
        UserError: It is a file of weights alone, which does not record it.
    """
    path = find(path)
    if not files.is_dir(path):
        raise UserError(
            f"training.init_continue: {path} does not record how many images it has seen. Name a "
            "run, a checkpoint or a preset, or leave the option out."
        )
    return int(read_meta(checkpoint_folder(path))["images"])


def _init_from_keras(path: str, generator: Generator, partial: bool) -> Match:
    """Copies from a file of Keras, whose names are positions in the network."""
    data = files.read_bytes(path)
    if path.endswith(".keras"):
        data = read_member(data, _IN_KERAS_ARCHIVE, path)
    source = read_hdf5(data, path)
    with files.temporary_folder() as local:
        # A file of this network shows the name of each of its arrays in Keras's format.
        own = Path(local) / "own.weights.h5"
        generator.network.save_weights(own)
        target = read_hdf5(own.read_bytes(), str(own))
        match = _compare(source, target, path, generator, partial)
        with h5py.File(own, "r+") as file:
            for name in match.matched:
                file[name][...] = source[name]
        generator.network.load_weights(own)
    return match


def _compare(
    source: Arrays, target: Arrays, path: str, generator: Generator, partial: bool
) -> Match:
    """Matches arrays by name and shape; a DataError if too few do."""
    common = source.keys() & target.keys()
    matched = {name for name in common if source[name].shape == target[name].shape}
    if not matched:
        raise DataError(
            f"Nothing in {path} fits a {generator.name}: none of its {len(source)} arrays has "
            f"the name and shape of one of the network's {len(target)}."
        )
    if 2 * len(matched) < len(target) and not partial:
        raise DataError(
            f"{path} fits only {len(matched)} of the {len(target)} arrays of this "
            f"{generator.name}, so it may belong to another network. To start from them, set "
            "--training.init-partial."
        )
    return Match(
        matched=tuple(sorted(matched)),
        reshaped=tuple(sorted(common - matched)),
        missing=tuple(sorted(target.keys() - source.keys())),
        unused=tuple(sorted(source.keys() - target.keys())),
    )
