"""Generators: networks that restore images.

One file is one model, and the name of the file is its name. A module of this package defines
`Options`, a frozen dataclass whose fields are documented, and `build(options) -> Generator`. Keras
is imported when the first model is built.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfdeblur.config import MODELS, settings

if TYPE_CHECKING:
    from tfdeblur.models.generator import Generator

__all__ = ["create"]


def create(name: str, options: Any = None) -> "Generator":
    """Builds a generator by name, under the precision policy in force.

    Args:
        name: One of `config.MODELS.names()`.
        options: Values for fields of the model's `Options`, or an instance of it, which is not
            validated again. Other fields keep their defaults.

    Returns:
        The generator, with its name and its complete options.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = MODELS.load(name)
    chosen = settings.options_from(module.Options, options)
    generator: Generator = module.build(chosen)
    return dataclasses.replace(generator, name=name, options=dataclasses.asdict(chosen))
