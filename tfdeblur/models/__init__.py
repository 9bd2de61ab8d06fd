"""Generators: networks that restore images.

One file is one model, and the name of the file is its name. A module of this package defines
`Options`, a frozen dataclass whose fields are documented, and `build(options) -> Generator`. Keras
is imported when the first model is built.
"""

from typing import TYPE_CHECKING, Any

from tfdeblur.config import MODELS, settings

if TYPE_CHECKING:
    from tfdeblur.models.generator import Generator

__all__ = ["create"]


def create(name: str, options: Any = None) -> "Generator":
    """Builds a generator by name; see `settings.create`."""
    built: Generator = settings.create(MODELS, name, options)
    return built
