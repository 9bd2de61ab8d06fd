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
    """Builds an objective by name; see `settings.create`."""
    built: Objective = settings.create(OBJECTIVES, name, options)
    return built
