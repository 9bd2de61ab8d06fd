"""Plug-ins found by module name: one file is one model, critic, objective or data source.

A plug-in is a module of a package, such as ``tfdeblur.models``; its file name is its key. It
defines ``Options``, a frozen dataclass of its settings, and ``build``, which creates it. A new
file is discovered automatically.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from tfdeblur.errors import ConfigError


def near_names(name: str, known: Iterable[str]) -> str:
    """Returns the known names near an unknown one as the end of an error message.

    Example:
        >>> near_names("unet61", ["unet16", "rednet30"])
        " Did you mean 'unet16'?"
        >>> near_names("x", ["unet16", "rednet30"])
        ''
    """
    near = difflib.get_close_matches(name, sorted(known), n=2, cutoff=0.6)
    return " Did you mean " + " or ".join(repr(n) for n in near) + "?" if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name.

    Args:
        name: The unknown name.
        known: All valid names.

    Returns:
        `` Did you mean 'unet16'?`` if a known name is near, else the list of known names.
    """
    names = sorted(known)
    return near_names(name, names) or f" Known: {', '.join(names) or 'none'}."


@dataclasses.dataclass(frozen=True)
class Registry:
    """The plug-ins of one package.

    Attributes:
        package: Dotted name of the package whose modules are the plug-ins.
        kind: Name of one plug-in in messages, such as ``model``.
        shared: Modules of the package that are not plug-ins.
    """

    package: str
    kind: str
    shared: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Returns the names of all plug-ins, sorted, without importing any of them."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigError(f"{self.package} is not a package of {self.kind}s.")
        return sorted(
            module.name
            for module in pkgutil.iter_modules(spec.submodule_search_locations)
            if not (module.ispkg or module.name.startswith("_") or module.name in self.shared)
        )

    def load(self, name: str) -> ModuleType:
        """Imports the plug-in called `name`.

        Raises:
            ConfigError: No plug-in has that name; near names are suggested.
        """
        known = self.names()
        if name not in known:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, known)}")
        return importlib.import_module(f"{self.package}.{name}")

    def options(self, name: str) -> type[Any]:
        """Returns the `Options` dataclass of the plug-in called `name`."""
        options: type[Any] = self.load(name).Options
        return options
