"""From a file of weights to a generator, and to a checkpoint that all commands take."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import keras

from tfdeblur import models
from tfdeblur._version import __version__
from tfdeblur.checkpoints.manifest import FORMAT_VERSION, META, WEIGHTS, write_meta
from tfdeblur.checkpoints.weights import write_weights
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.porting import mapping
from tfdeblur.porting.architectures import REGISTRY
from tfdeblur.porting.reading import WeightsFile

# How many names a message shows of a file that nothing is known about.
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Ported:
    """A generator with the weights of a file.

    Attributes:
        generator: It, in float32.
        arrays: How many arrays were taken over.
        left_out: How many were not, by the reason.
    """

    generator: Generator
    arrays: int
    left_out: Mapping[str, int]


def recognize(weights: WeightsFile) -> str:
    """Returns the name of the architecture that weights belong to.

    Raises:
        DataError: They look like none that is known.
    """
    for name in REGISTRY.names():
        if all(mark in weights.arrays for mark in REGISTRY.load(name).MARKS):
            return name
    begin = ", ".join(list(weights.arrays)[:_SHOWN])
    known = ", ".join(f"{name} ({REGISTRY.load(name).REPOSITORY})" for name in REGISTRY.names())
    raise DataError(
        f"{weights.path} holds {len(weights.arrays)} arrays ({begin}, ...) and is none of the "
        f"networks whose names are known: {known}. If it is one of them by other names, rename "
        "the arrays; --architecture tells which are missing."
    )


def port(weights: WeightsFile, architecture: str, chosen: Mapping[str, Any]) -> Ported:
    """Builds a generator as large as the weights and fills it.

    Args:
        weights: What was read.
        architecture: One of `architectures.REGISTRY.names()`.
        chosen: Options of the generator that weights do not tell.

    Raises:
        ConfigError: An option cannot be chosen, or has a value out of range.
        DataError: The weights do not fit, each array in its place.
    """
    module = REGISTRY.load(architecture)
    _check_choices(architecture, module, chosen)
    try:
        told = module.options(weights.arrays)
        generator = _create(architecture, {**told, **chosen})
        layout = module.layout(generator.options)
        left_out = mapping.fill(generator, layout, weights.arrays)
    except DataError as error:
        raise DataError(f"{weights.path} does not fit {architecture}. {error}") from error
    return Ported(generator, len(layout.places), left_out)


def _check_choices(architecture: str, module: ModuleType, chosen: Mapping[str, Any]) -> None:
    problems = [
        settings.Problem(
            f"options: {name}",
            "follows from the weights and cannot be chosen; can be: "
            f"{', '.join(module.CHOICES) or 'none'}.",
        )
        for name in chosen
        if name not in module.CHOICES
    ]
    settings.raise_problems(problems)


def _create(name: str, options: Mapping[str, Any]) -> Generator:
    # Weights are float32 whatever a notebook's policy is for what it trains.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return models.create(name, options)
    finally:
        keras.config.set_dtype_policy(policy)


def parse_choices(words: Sequence[str]) -> dict[str, Any]:
    """Reads `NAME=VALUE` words, values as in YAML.

    Raises:
        ConfigError: A word has another form.
    """
    chosen: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (name and separator):
            raise ConfigError(f"options: {word!r} is not of the form NAME=VALUE.")
        chosen |= settings.parse_yaml(f"{name}: {value}", f"options: {word!r}")
    return chosen


def refuse_other_content(folder: str, overwrite: bool) -> None:
    """Raises a UserError where a checkpoint would land among or on other things."""
    if not files.exists(folder):
        return
    if not files.is_dir(folder):
        raise UserError(f"{folder} is a file; give a folder for the checkpoint.")
    there = set(files.list_dir(folder))
    if there - {META, WEIGHTS}:
        raise UserError(f"{folder} holds other things than a checkpoint; give another folder.")
    if there and not overwrite:
        raise UserError(f"{folder} holds a checkpoint already; --overwrite replaces it.")


def write(ported: Ported, folder: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a checkpoint like those of training, without the state of a training.

    Args:
        ported: What was made of a file.
        folder: Becomes the checkpoint; what is one there is replaced.
        origin: Where the weights come from; kept as `origin`.

    Returns:
        What was written to `meta.json`, the last file.

    Raises:
        UserError: The folder cannot be written.
    """
    generator = ported.generator
    files.make_dirs(folder)
    files.remove(files.join(folder, META))
    write_weights(folder, generator)
    about = {
        "format": FORMAT_VERSION,
        "images": 0,  # seen by a training here
        "model": {"name": generator.name, **settings.to_plain(generator.options)},
        "averaged": False,
        "metrics": {},
        "origin": {**origin, "tfdeblur": __version__},
    }
    return write_meta(folder, about)
