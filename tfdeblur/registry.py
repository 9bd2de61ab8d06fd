"""Plug-ins found by the name of their module: one file is one model, objective or source.

A plug-in is a module inside a package (``tfdeblur.models``, for example). Its file name is its
key. It defines ``Options``, a frozen dataclass whose fields are its settings, and ``build``, the
function that makes it. Nothing else has to be edited for a new plug-in to be found.
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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the ending of an error message about an unknown name.

    Args:
        name: What was given.
        known: All names that would have been right.

    Returns:
        `` Did you mean 'unet16'?`` when something is near, else the list of known names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f" Known: {', '.join(names) or 'none'}."


@dataclasses.dataclass(frozen=True)
class Registry:
    """The plug-ins of one package.

    Attributes:
        package: Dotted name of the package whose modules are the plug-ins.
        kind: What one plug-in is called in messages, such as ``model``.
        shared: Modules of the package that plug-ins share and that are none themselves.
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
            ConfigError: No plug-in has that name; the nearest ones are suggested.
        """
        known = self.names()
        if name not in known:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, known)}")
        return importlib.import_module(f"{self.package}.{name}")

    def options(self, name: str) -> type[Any]:
        """Returns the `Options` dataclass of the plug-in called `name`."""
        options: type[Any] = self.load(name).Options
        return options
