"""Critics: networks that score images for adversarial objectives.

One file is one critic, and the name of the file is its name. A module of this package defines
`Options`, a frozen dataclass whose fields are documented, and `build(options) -> Critic`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfdeblur.config import CRITICS, settings

if TYPE_CHECKING:
    from tfdeblur.models.critics.critic import Critic

__all__ = ["create"]


def create(name: str, options: Any = None) -> "Critic":
    """Builds a critic by name, under the precision policy in force.

    Args:
        name: One of `config.CRITICS.names()`.
        options: Values for fields of the critic's `Options`, or an instance of it, which is not
            validated again. Other fields keep their defaults.

    Returns:
        The critic, with its name and its complete options.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = CRITICS.load(name)
    chosen = settings.options_from(module.Options, options)
    critic: Critic = module.build(chosen)
    return dataclasses.replace(critic, name=name, options=dataclasses.asdict(chosen))
