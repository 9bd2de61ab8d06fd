"""Weights of a generator: writing, reading, and finding the checkpoint that holds them."""

from pathlib import Path
from typing import Any

import h5py

from tfdeblur.checkpoints.arrays import (
    ArrayMismatch,
    Arrays,
    assign_arrays,
    read_arrays,
    to_arrays,
    weight_variables,
    write_arrays,
)
from tfdeblur.checkpoints.limits import no_more_weights_than
from tfdeblur.checkpoints.manifest import (
    META,
    WEIGHTS,
    description_file,
    is_checkpoint,
    verify_checkpoint,
    weights_file,
)
from tfdeblur.checkpoints.retention import checkpoint_path, list_checkpoints
from tfdeblur.config import MODELS, plugins
from tfdeblur.errors import DataError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.io.array_files import read_hdf5
from tfdeblur.models import create
from tfdeblur.models.generator import CUSTOM, Generator, Model, as_generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.presets import find
from tfdeblur.registry import did_you_mean

CHECKPOINTS = "checkpoints"
BEST = "best"


def write_weights(folder: str, generator: Generator) -> None:
    """Writes the generator's weights as float32 arrays.

    Raises:
        UserError: The file cannot be written.
    """
    arrays = to_arrays(weight_variables(generator.network))
    write_arrays(files.join(folder, WEIGHTS), arrays)


def read_weights(path: str, generator: Generator) -> None:
    """Reads weights into a generator of the same architecture.

    Args:
        path: A file written by `write_weights`, or the ``.weights.h5`` of a checkpoint of format 1.
        generator: Its network's weights are replaced.

    Raises:
        DataError: The file is damaged or belongs to another architecture.
        UserError: The file cannot be read.
    """
    _set_weights(generator, _read(path), path)


def _read(path: str) -> Arrays:
    if path.endswith(".h5"):
        return read_hdf5(files.read_bytes(path), path)
    return read_arrays(path)


def _set_weights(generator: Generator, arrays: Arrays, path: str) -> None:
    try:
        if path.endswith(".h5"):
            _set_keras_weights(generator, arrays)
        else:
            assign_arrays(weight_variables(generator.network), arrays)
    except (ArrayMismatch, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} does not hold the weights of a {generator.name}: {str(error).rstrip('.')}."
        ) from error


def _set_keras_weights(generator: Generator, arrays: Arrays) -> None:
    with files.temporary_folder() as local:
        # A copy: Keras would follow links to other files, and reads local files of this name only.
        copy = Path(local) / "copy.weights.h5"
        with h5py.File(copy, "w") as file:
            for name, values in arrays.items():
                file[name] = values
        generator.network.load_weights(str(copy))


def checkpoint_folder(path: str, which: str = "best") -> str:
    """Finds the checkpoint of a work directory, or the folder of a preset.

    Args:
        path: A work directory, the name of a preset, or the folder of a checkpoint or preset,
            which is returned as it is.
        which: ``best`` (the newest if there has been no validation yet) or ``last``.

    Raises:
        UserError: There is none.
    """
    path = find(path)
    if is_checkpoint(path):
        return path
    for kind in (BEST, CHECKPOINTS) if which == "best" else (CHECKPOINTS,):
        folder = files.join(path, kind)
        counts = list_checkpoints(folder)
        if counts:
            return checkpoint_path(folder, counts[-1])
    raise UserError(
        f"{path} holds no checkpoint: neither {META} (a checkpoint), nor {BEST}/ or "
        f"{CHECKPOINTS}/ (a work directory of tfdeblur.train)."
    )


def load_generator(
    path: str, which: str = "best", model: Model | None = None
) -> tuple[Generator, dict[str, Any]]:
    """Builds the generator of a trained run, in float32, and reads its weights.

    Args:
        path: See `checkpoint_folder`.
        which: ``best`` or ``last``, for a work directory.
        model: The network, if it was passed to the training from Python; see
            `training.trainer.Trainer`. It gets the weights.

    Returns:
        The generator, and the checkpoint's ``meta.json`` with its ``folder`` added.

    Raises:
        UserError: There is no checkpoint, or its network is that of a module that is not imported.
        DataError: It is damaged, or describes a network that does not fit its weights.
    """
    folder = checkpoint_folder(path, which)
    meta = verify_checkpoint(folder)
    weights = files.join(folder, weights_file(meta))
    arrays = _read(weights)
    options = dict(meta["model"])
    if absent := plugins.missing(meta.get(plugins.KEY)):
        raise UserError(f"{folder} cannot be loaded yet. {plugins.advice(absent)}")
    name = str(options.pop("name"))
    if model is not None:
        generator = as_generator(model)
        _set_weights(generator, arrays, weights)
        return generator, {**meta, "folder": folder}
    if name == CUSTOM and name not in MODELS.names():
        raise UserError(
            f"{folder} holds the weights of a network that was passed to the training from Python. "
            "Load it there, with tfdeblur.load(path, model=network). Commands load a network that "
            "tfdeblur.register names."
        )
    if name not in MODELS.names():
        # Presets do not name the module of a plug-in.
        raise UserError(
            f"{folder} cannot be loaded yet. Its network, {name!r}, is not one of tfdeblur's, and "
            "no imported module registers it. Such a module is a program: if you trust it, set "
            f"--plugins MODULE (in Python, import it first).{did_you_mean(name, MODELS.names())}"
        )
    try:
        with standard_settings(), no_more_weights_than(arrays):
            generator = create(name, options)
    except Exception as error:  # the options may have any values
        raise DataError(
            f"{files.join(folder, description_file(meta))}: model describes no network with the "
            f"weights of {weights_file(meta)}: {reason_of(error)}."
        ) from error
    _set_weights(generator, arrays, weights)
    return generator, {**meta, "folder": folder}
