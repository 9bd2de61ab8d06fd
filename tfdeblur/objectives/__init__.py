"""Objectives: what each player minimizes. One file is one objective; its file name is its key."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfdeblur.config import OBJECTIVES as REGISTRY
from tfdeblur.config import settings

if TYPE_CHECKING:
    from tfdeblur.objectives.objective import Objective

__all__ = ["REGISTRY", "create"]


def create(name: str, options: Mapping[str, Any] | None = None) -> "Objective":
    """Builds an objective by name.

    Args:
        name: A name of `REGISTRY.names()`.
        options: Plain values for the fields of the objective's `Options`.

    Raises:
        ConfigError: The name or an option is unknown, or a value is out of range.
    """
    module = REGISTRY.load(name)
    objective: Objective = module.build(settings.validate(module.Options, options or {}))
    return objective
