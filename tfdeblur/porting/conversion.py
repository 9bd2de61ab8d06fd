"""Conversion of a weights file to a generator, and to a checkpoint that all commands load."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from tfdeblur import models
from tfdeblur._version import __version__
from tfdeblur.checkpoints.limits import TooManyWeights, no_more_weights_than
from tfdeblur.checkpoints.manifest import (
    FORMAT_VERSION,
    META,
    WEIGHTS,
    WEIGHTS_FORMAT_1,
    write_meta,
)
from tfdeblur.checkpoints.weights import write_weights
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.porting import mapping
from tfdeblur.porting.architectures import REGISTRY
from tfdeblur.porting.reading import WeightsFile

# Array names shown in the message about an unknown network.
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Ported:
    """A generator with the weights of a file.

    Attributes:
        generator: The generator, in float32.
        arrays: Number of converted arrays.
        omitted: Numbers of omitted arrays by reason.
    """

    generator: Generator
    arrays: int
    omitted: Mapping[str, int]


def recognize(weights: WeightsFile) -> str:
    """Returns the name of the architecture that weights belong to.

    Raises:
        DataError: They belong to no known architecture.
    """
    for name in REGISTRY.names():
        if all(mark in weights.arrays for mark in REGISTRY.load(name).MARKS):
            return name
    begin = ", ".join(list(weights.arrays)[:_SHOWN])
    known = ", ".join(f"{name} ({REGISTRY.load(name).REPOSITORY})" for name in REGISTRY.names())
    raise DataError(
        f"{weights.path} contains {len(weights.arrays)} arrays ({begin}, ...) that belong to none "
        f"of the known networks: {known}. If it is one of them with other array names, rename the "
        "arrays; with --architecture the error lists those that are missing."
    )


def port(weights: WeightsFile, architecture: str, chosen: Mapping[str, Any]) -> Ported:
    """Builds the generator that fits the weights and sets its weights.

    Args:
        weights: The weights file.
        architecture: One of `architectures.REGISTRY.names()`.
        chosen: Options of the generator that do not follow from the weights.

    Raises:
        ConfigError: An option cannot be chosen or has a value out of range.
        DataError: Arrays are missing, unknown or of another shape.
    """
    module = REGISTRY.load(architecture)
    _check_choices(architecture, module, chosen)
    try:
        inferred = module.options(weights.arrays)
        with standard_settings(), no_more_weights_than(weights.arrays):
            generator = models.create(architecture, {**inferred, **chosen})
        layout = module.layout(generator.options)
        omitted = mapping.fill(generator, layout, weights.arrays)
    except (DataError, TooManyWeights) as error:
        raise DataError(f"{weights.path} does not fit {architecture}. {error}") from error
    return Ported(generator, len(layout.places), omitted)


def _check_choices(architecture: str, module: ModuleType, chosen: Mapping[str, Any]) -> None:
    problems = [
        settings.Problem(
            f"options: {name}",
            "follows from the weights and cannot be set. Options that can be set: "
            f"{', '.join(module.CHOICES) or 'none'}.",
        )
        for name in chosen
        if name not in module.CHOICES
    ]
    settings.raise_problems(problems)


def parse_choices(words: Sequence[str]) -> dict[str, Any]:
    """Reads `NAME=VALUE` words, values as in YAML.

    Raises:
        ConfigError: A word does not have that form.
    """
    chosen: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (name and separator):
            raise ConfigError(f"options: {word!r} does not have the form NAME=VALUE.")
        chosen |= settings.parse_yaml(f"{name}: {value}", f"options: {word!r}")
    return chosen


def refuse_other_content(folder: str, overwrite: bool) -> None:
    """Checks that a checkpoint can be written to a folder.

    Raises:
        UserError: The folder is a file, contains other files, or contains a checkpoint and
            `overwrite` is False.
    """
    if not files.exists(folder):
        return
    if not files.is_dir(folder):
        raise UserError(f"{folder} is a file; choose a folder for the checkpoint.")
    there = set(files.list_dir(folder))
    if there - {META, WEIGHTS, WEIGHTS_FORMAT_1}:
        raise UserError(f"{folder} contains files other than a checkpoint; choose another folder.")
    if there and not overwrite:
        raise UserError(f"{folder} already contains a checkpoint; replace it with --overwrite.")


def write(ported: Ported, folder: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a checkpoint as training does, without optimizers and counters.

    Args:
        ported: The converted generator.
        folder: Becomes the checkpoint; an existing one is replaced.
        origin: Source of the weights, stored as `origin`.

    Returns:
        The content of `meta.json`, which is written last.

    Raises:
        UserError: The folder cannot be written.
    """
    generator = ported.generator
    files.make_dirs(folder)
    for name in (META, WEIGHTS_FORMAT_1):
        files.remove(files.join(folder, name))
    write_weights(folder, generator)
    about = {
        "format": FORMAT_VERSION,
        "images": 0,  # not trained here
        "model": {"name": generator.name, **settings.to_plain(generator.options)},
        "averaged": False,
        "metrics": {},
        "origin": {**origin, "tfdeblur": __version__},
    }
    return write_meta(folder, about)
