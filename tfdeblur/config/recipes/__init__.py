"""Recipes: the configurations of published training runs, one YAML file each.

A recipe may name another one as its `base` and then contains only what differs from it.
"""

import dataclasses
import importlib.resources
import re
from collections.abc import Mapping
from typing import Any

from tfdeblur._version import __version__
from tfdeblur.config import settings
from tfdeblur.errors import ConfigError
from tfdeblur.registry import did_you_mean


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A published training run.

    Attributes:
        name: File name without its suffix.
        about: `paper`, `cite` (keys of entries in ``papers.bib``), `trained_on` (images, and how
            epochs are counted), `data` and `command` (commands to build the data and to train),
            `data_images` (those data's training images, if the length is given in epochs),
            `protocol`, possibly `crops` (the size of the crops that the paper measured instead of
            whole images), `reported` and `measured` scores (the latter with the `images` and the
            `device` of the training, possibly its `hours` and the name of the `preset`), possibly
            `reported_input` (of the blurred images) and `reported_epochs` (by epochs of
            `epoch_images`), and `chosen`: by key of the configuration, the values that the paper
            does not state, and where they are from.
        config: A layer of the configuration.
    """

    name: str
    about: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def source(self) -> str | None:
        """Name of the source that the recipe's data are built from; None if no command builds them.

        Example:
            >>> load("unet16_cifar10").source
            'cifar10'
        """
        built = re.search(r"data_prep\.build (\w+)", str(self.about.get("data", "")))
        return built[1] if built else None


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
    if base := tree.pop("base", None):
        inherited = load(base)
        tree = settings.merge({**inherited.config, "about": inherited.about}, tree)
    about = tree.pop("about", {})
    # null removes a note inherited from the base recipe.
    about["chosen"] = {key: why for key, why in about.get("chosen", {}).items() if why}
    return Recipe(name=name, about=about, config=tree)


def bibtex(name: str) -> str:
    """Returns the BibTeX entries of a recipe's papers, and last that of this library.

    Raises:
        ConfigError: Unknown recipe; near names are suggested.
    """
    entries = _bibliography()
    return "\n\n".join(entries[key] for key in (*load(name).about["cite"], "tfdeblur"))


def _bibliography() -> dict[str, str]:
    """Returns all entries by key."""
    text = (importlib.resources.files(__name__) / "papers.bib").read_text("utf-8")
    text = text.replace("@VERSION@", __version__)
    return {match[1]: match[0] for match in re.finditer(r"^@\w+{(\w+),\n.*?^}", text, re.M | re.S)}
