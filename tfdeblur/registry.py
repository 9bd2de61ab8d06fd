"""Plug-ins found by name: models, critics, objectives, metrics and data sources.

A plug-in is a module of a package, such as ``tfdeblur.models``; its file name is its key. It
defines ``Options``, a frozen dataclass of its settings, and ``build``, which creates it. A new
file is discovered automatically. `register` adds plug-ins from outside of the packages.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import pkgutil
import re
import typing
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from tfdeblur.errors import ConfigError

Build = TypeVar("Build", bound=Callable[..., Any])

KINDS = ("model", "critic", "objective", "source")
"""The kinds of plug-ins that `register` takes; `register_metric` adds metrics."""

METRIC_FAMILY = "metric family"

_NAME = re.compile("[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class _Registered:
    """A plug-in from outside.

    Attributes:
        origin: Name of the module that registered it; ``__main__`` in a notebook.
        module: A module made for it, with what the modules of a package define.
    """

    origin: str
    module: ModuleType


# By kind and name.
_registered: dict[str, dict[str, _Registered]] = {}


def register(kind: str, name: str) -> Callable[[Build], Build]:
    """Registers the decorated function as a plug-in from outside of the library.

    It is then chosen by name, on command lines (``--plugins MODULE --model NAME``), in
    configurations and in Python. Registering a name again replaces it, so that cells of a notebook
    can be run again.

    Args:
        kind: ``model``, ``critic``, ``objective`` or ``source``.
        name: Name of the plug-in: lowercase letters, digits and underscores.

    Returns:
        A decorator for ``build(options: Options)``. The annotation of its first parameter is the
        dataclass of the plug-in's settings; the function returns a `models.generator.Generator`, a
        `models.critics.critic.Critic`, an `objectives.objective.Objective` or a
        `data_prep.sources.source.Source`.

    Raises:
        ConfigError: Unknown kind, an invalid name, one that another module has registered, or a
            function whose parameter is not annotated with a dataclass.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Options:
        ...     width: int = 32
        >>> @register("model", "shallow")  # doctest: +SKIP
        ... def build(options: Options):
        ...     ...
    """
    if kind not in KINDS:
        raise ConfigError(f"Unknown kind of plug-in {kind!r}.{did_you_mean(kind, KINDS)}")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{kind} {name!r}: use lowercase letters, digits and underscores.")

    def decorate(build: Build) -> Build:
        options = _options_class(build)
        if options is None:
            raise ConfigError(
                f"{kind} {name!r}: annotate the parameter of {build.__name__} with the dataclass "
                "of the options, both defined at the top level of their module."
            )
        _add(kind, name, build.__module__, build.__doc__, Options=options, build=build)
        return build

    return decorate


def register_metric(key: str, metric: Any, origin: str) -> None:
    """Registers a metric as a family of its own; see `tfdeblur.register_metric`."""
    _add(METRIC_FAMILY, key, origin, metric.protocol, METRICS=(metric,))


def _add(kind: str, name: str, origin: str, about: str | None, **content: Any) -> None:
    others = _registered.setdefault(kind, {})
    if name in others and others[name].origin != origin:
        raise ConfigError(
            f"{kind} {name!r} is registered by {others[name].origin} and by {origin}. Rename one "
            "of them."
        )
    module = ModuleType(name, about)
    vars(module).update(content)
    others[name] = _Registered(origin, module)


def _options_class(build: Callable[..., Any]) -> type[Any] | None:
    try:
        hints = list(typing.get_type_hints(build).items())
    except NameError:  # a class that only a function knows
        return None
    first = hints[0][1] if hints and hints[0][0] != "return" else None
    return first if isinstance(first, type) and dataclasses.is_dataclass(first) else None


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
        """Returns the names of all plug-ins, sorted, without importing any of them.

        Raises:
            ConfigError: A plug-in from outside has the name of one of the package.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigError(f"{self.package} is not a package of {self.kind}s.")
        own = {
            module.name
            for module in pkgutil.iter_modules(spec.submodule_search_locations)
            if not (module.ispkg or module.name.startswith("_") or module.name in self.shared)
        }
        outside = _registered.get(self.kind, {})
        for name in own & outside.keys():
            origin = outside.pop(name).origin
            raise ConfigError(
                f"{self.kind} {name!r} of {origin} has the name of one of the library. Rename it."
            )
        return sorted(own | outside.keys())

    def load(self, name: str) -> ModuleType:
        """Imports the plug-in called `name`.

        Raises:
            ConfigError: No plug-in has that name; near names are suggested.
        """
        known = self.names()
        if name not in known:
            raise ConfigError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, known)}")
        outside = _registered.get(self.kind, {}).get(name)
        return outside.module if outside else importlib.import_module(f"{self.package}.{name}")

    def options(self, name: str) -> type[Any]:
        """Returns the `Options` dataclass of the plug-in called `name`."""
        options: type[Any] = self.load(name).Options
        return options

    def origin(self, name: str) -> str | None:
        """Returns the module that registered a plug-in from outside, None for others."""
        outside = _registered.get(self.kind, {}).get(name)
        return outside.origin if outside else None
