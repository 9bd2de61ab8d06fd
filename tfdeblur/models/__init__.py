"""Generators, one file for each; the name of the file is the name of the model.

A module of this package defines `Options`, a frozen dataclass whose fields are documented, and
`build(options) -> Generator`. Keras is imported when the first model is built, not before.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfdeblur.config import MODELS as REGISTRY
from tfdeblur.config import settings

if TYPE_CHECKING:
    from tfdeblur.models.generator import Generator

__all__ = ["REGISTRY", "create"]


def create(name: str, options: Mapping[str, Any] | None = None) -> "Generator":
    """Builds a generator by name, under the precision policy in force.

    Args:
        name: One of `REGISTRY.names()`.
        options: Values for fields of the model's `Options`; the others keep their defaults.

    Returns:
        The generator, with its name and its complete options.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = REGISTRY.load(name)
    chosen = settings.validate(module.Options, dict(options or {}))
    generator: Generator = module.build(chosen)
    return dataclasses.replace(generator, name=name, options=dataclasses.asdict(chosen))
