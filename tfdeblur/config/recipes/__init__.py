"""Recipes: the configurations of published training runs, one YAML file each."""

import dataclasses
import importlib.resources
from collections.abc import Mapping
from typing import Any

from tfdeblur.config import settings
from tfdeblur.errors import ConfigError
from tfdeblur.registry import did_you_mean


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A published training run.

    Attributes:
        name: File name without its suffix.
        about: `paper`, `data` and `command` (commands to build the data and to train), `protocol`,
            `reported` and `measured` scores.
        config: A layer of the configuration.
    """

    name: str
    about: Mapping[str, Any]
    config: Mapping[str, Any]


def names() -> list[str]:
    """Returns the names of all recipes, sorted."""
    folder = importlib.resources.files(__name__)
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        ConfigError: Unknown recipe; near names are suggested.
    """
    known = names()
    if name not in known:
        raise ConfigError(f"recipe: unknown recipe {name!r}.{did_you_mean(str(name), known)}")
    text = (importlib.resources.files(__name__) / f"{name}.yaml").read_text("utf-8")
    tree = settings.parse_yaml(text, f"recipe {name}")
    about = tree.pop("about", {})
    return Recipe(name=name, about=about, config=tree)
