"""Critics: networks that score images for adversarial objectives.

One file is one critic, and the name of the file is its name. A module of this package defines
`Options`, a frozen dataclass whose fields are documented, and `build(options) -> Critic`.
"""

from typing import TYPE_CHECKING, Any

from tfdeblur.config import CRITICS, settings

if TYPE_CHECKING:
    from tfdeblur.models.critics.critic import Critic

__all__ = ["create"]


def create(name: str, options: Any = None) -> "Critic":
    """Builds a critic by name; see `settings.create`."""
    built: Critic = settings.create(CRITICS, name, options)
    return built
