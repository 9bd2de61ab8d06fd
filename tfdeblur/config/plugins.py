"""Modules with plug-ins from outside: importing them, which registers their plug-ins.

A module is imported only if the user names it, with ``--plugins`` or in Python. A configuration or
checkpoint that names modules, and may be another person's, never makes a process import them.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from tfdeblur.config.backend import choose_backend
from tfdeblur.errors import ConfigError, UserError

KEY = "plugins"
"""Key of the modules in a configuration and in the `meta.json` of a checkpoint."""


def load(modules: Sequence[str]) -> None:
    """Imports modules, which register their plug-ins.

    Args:
        modules: Names of importable modules, or paths of ``.py`` files, whose folders are added to
            `sys.path`.

    Raises:
        ConfigError: There is no such module or file, its name is that of another module, or it
            raises an error.
    """
    if modules:
        # Plug-ins import Keras.
        choose_backend()
    for module in modules:
        _load(module)


def _load(module: str) -> None:
    name = module_name(module)
    if module.endswith(".py"):
        path = os.path.abspath(os.path.expanduser(module))
        if not os.path.isfile(path):
            raise ConfigError(f"{KEY}: the file {module} does not exist.")
        if os.path.dirname(path) not in sys.path:
            sys.path.insert(0, os.path.dirname(path))
        importlib.invalidate_caches()
        found = getattr(sys.modules.get(name), "__file__", None) or _file_of(name)
        if found is None or os.path.realpath(found) != os.path.realpath(path):
            raise ConfigError(f"{KEY}: {module} has the name of the module {found}. Rename it.")
    try:
        importlib.import_module(name)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{KEY}: {module} needs a module that is not installed: {error}."
            ) from error
        raise ConfigError(
            f"{KEY}: there is no module {module}. Give the name of an installed module, or the "
            "path of a .py file."
        ) from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{KEY}: {module} cannot be imported: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno})."
        ) from error


def _file_of(name: str) -> str | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.origin or name


def module_name(module: str) -> str:
    """Returns the name of a module that is given by name or path.

    Example:
        >>> module_name("plugins/my_networks.py")
        'my_networks'
    """
    return os.path.basename(module).removesuffix(".py") if module.endswith(".py") else module


def missing(named: Any) -> list[str]:
    """Returns those modules that a configuration or checkpoint names and that are not imported."""
    names = named if isinstance(named, list | tuple) else ()
    return [n for n in names if isinstance(n, str) and module_name(n) not in sys.modules]


def advice(modules: Sequence[str]) -> str:
    """Returns the end of an error message about modules that are not imported."""
    flags = " ".join(f"--plugins {module}" for module in modules)
    return (
        f"It uses plug-ins of {', '.join(modules)}, which is a program: if you trust it, "
        f"set {flags} (in Python, import it first)."
    )
