"""The check of an `Options` dataclass, which all plug-ins have."""

import dataclasses
from typing import Any

from tfdeblur.config import settings


def are_frozen_and_documented(options: type[Any]) -> None:
    """Checks that a class is a frozen dataclass whose fields all have a description."""
    assert dataclasses.is_dataclass(options), f"{options} is not a dataclass"
    parameters = options.__dataclass_params__  # type: ignore[attr-defined]  # dataclass's own
    assert parameters.frozen, f"{options} is not frozen"
    bare = [field.name for field in settings.fields_of(options) if not field.description]
    assert not bare, f"fields of {options} without a docstring: {', '.join(bare)}"
