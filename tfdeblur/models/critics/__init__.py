"""Critics, one file for each; the name of the file is the name of the critic.

A module of this package defines `Options`, a frozen dataclass whose fields are documented, and
`build(options) -> Critic`.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfdeblur.config import CRITICS as REGISTRY
from tfdeblur.config import settings

if TYPE_CHECKING:
    from tfdeblur.models.critics.critic import Critic

__all__ = ["REGISTRY", "create"]


def create(name: str, options: Mapping[str, Any] | None = None) -> "Critic":
    """Builds a critic by name, under the precision policy in force.

    Args:
        name: One of `REGISTRY.names()`.
        options: Values for fields of the critic's `Options`; the others keep their defaults.

    Returns:
        The critic, with its name and its complete options.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = REGISTRY.load(name)
    chosen = settings.validate(module.Options, dict(options or {}))
    critic: Critic = module.build(chosen)
    return dataclasses.replace(critic, name=name, options=dataclasses.asdict(chosen))
