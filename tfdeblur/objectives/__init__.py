"""Training objectives: what each network minimizes.

One file is one objective, and the name of the file is its key. A module of this package defines
`Options`, a frozen dataclass whose fields are documented, and `build(options) -> Objective`.
"""

from typing import TYPE_CHECKING, Any

from tfdeblur.config import OBJECTIVES, settings

if TYPE_CHECKING:
    from tfdeblur.objectives.objective import Objective

__all__ = ["create"]


def create(name: str, options: Any = None) -> "Objective":
    """Builds an objective by name.

    Args:
        name: One of `config.OBJECTIVES.names()`.
        options: Values for fields of the objective's `Options`, or an instance of it, which is not
            validated again. Other fields keep their defaults.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = OBJECTIVES.load(name)
    objective: Objective = module.build(settings.options_from(module.Options, options))
    return objective
