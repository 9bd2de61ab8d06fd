"""Trees of plain values and the dataclasses built from them: merging, reading, validating.

Values are validated by pydantic, which reports all errors with the paths of their keys; unknown
names get a suggestion of the nearest known one.
"""

import ast
import dataclasses
import functools
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic.fields import FieldInfo

from tfdeblur.config.fields import Size
from tfdeblur.config.renamed import new_name
from tfdeblur.errors import ConfigError
from tfdeblur.registry import Registry, did_you_mean, near_names

T = TypeVar("T")
Tree = dict[str, Any]

_MAX_VALUES = 100_000
# Characters of a rejected value in its message.
_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a configuration dataclass, as flags and messages need it."""

    name: str
    annotation: Any
    description: str
    default: Any
    required: bool


def fields_of(config_class: type[Any]) -> list[Field]:
    """Returns the fields of a dataclass.

    The description of a field is that of its type, else the docstring below it.
    """
    hints = typing.get_type_hints(config_class, include_extras=True)
    docstrings = _docstrings(typing.cast(typing.Hashable, config_class))
    found = []
    for field in dataclasses.fields(config_class):
        annotation, description = hints[field.name], docstrings.get(field.name, "")
        if typing.get_origin(annotation) is Annotated:
            annotation, *extras = typing.get_args(annotation)
            described = (e.description for e in extras if isinstance(e, FieldInfo))
            description = next(filter(None, described), description)
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        default = None
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(Field(field.name, annotation, description, default, required))
    return found


@functools.cache
def _docstrings(config_class: Any) -> dict[str, str]:
    """Returns the docstrings below the fields of a dataclass, on one line each.

    Python does not keep them, so they are read from the source; without it there are none.
    """
    found: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        own = typing.cast(type[Any], base)
        definition = _class_definitions(own.__module__).get(own.__name__)
        name = ""
        for statement in definition.body if definition else []:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    pass
                case ast.Expr(value=ast.Constant(value=str(text))) if name:
                    found[name] = " ".join(text.split())
                case _:
                    name = ""
    return found


@functools.cache
def _class_definitions(module: str) -> dict[str, ast.ClassDef]:
    """Returns the parsed classes of a module by name; none without its source."""
    try:
        # Once for all classes: to find the source of one, inspect parses the whole module as well.
        parsed = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: node for node in ast.walk(parsed) if isinstance(node, ast.ClassDef)}


def members(annotation: Any) -> tuple[Any, ...]:
    """Returns the alternatives of a union (without None), or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = typing.get_args(annotation)
        return tuple(part for part in parts if part is not type(None))
    return (annotation,)


def section_class(annotation: Any) -> type[Any] | None:
    """Returns the dataclass of a nested section, or None for a plain value."""
    for part in members(annotation):
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            return part
    return None


def _class_of_items(annotation: Any) -> type[Any] | None:
    """Returns the dataclass of the sections in a list, or None for other fields."""
    for part in members(annotation):
        if typing.get_origin(part) in (tuple, list):
            return section_class(typing.get_args(part)[0])
    return None


def is_sequence(annotation: Any) -> bool:
    """Returns whether a field takes a list of values."""
    return any(typing.get_origin(part) in (tuple, list) for part in members(annotation))


def is_mapping(annotation: Any) -> bool:
    """Returns whether a field takes names with values, such as weights of losses."""
    origins = (typing.get_origin(part) for part in members(annotation))
    return any(isinstance(origin, type) and issubclass(origin, Mapping) for origin in origins)


def is_bool(annotation: Any) -> bool:
    """Returns whether a field is a switch."""
    return members(annotation) == (bool,)


# ---------------------------------------------------------------------------- trees of plain values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Returns `base` updated with the values of `over`, section by section.

    If both name a plug-in by ``name`` in one section and the names differ, the section of `over`
    replaces that of `base`: options of one model are never applied to another.
    """
    merged: Tree = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and value["name"] != old.get("name")
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def put(tree: Tree, path: str, value: Any) -> None:
    """Sets ``a.b.c`` in a tree of dictionaries, creating missing sections.

    Raises:
        ConfigError: A section on the path has a value, or a value would replace a section.
    """
    *sections, leaf = path.split(".")
    for depth, section in enumerate(sections, 1):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise _conflict(".".join(sections[:depth]), inner, path)
        tree = inner
    old = tree.get(leaf)
    if isinstance(old, dict) and not isinstance(value, dict):
        raise _conflict(path, value, f"{path}.{next(iter(old))}")
    tree[leaf] = value


def _conflict(path: str, value: Any, inside: str) -> ConfigError:
    return ConfigError(
        f"{path}: set both to {'none' if value is None else repr(value)} and as a section "
        f"({inside}); remove one of them."
    )


def parse_yaml(text: str, origin: str) -> Tree:
    """Reads a YAML mapping.

    Raises:
        ConfigError: The text is not YAML or not a mapping; the message names `origin` and the
            line.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin} is nested too deeply.") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # YAML's constructors raise them for values such as the date 2020-99-99.
        raise ConfigError(f"{origin} holds an invalid value: {error}.") from error
    if _is_larger_than(_MAX_VALUES, tree):
        raise ConfigError(f"{origin} repeats its aliases to more than {_MAX_VALUES:,} values.")
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} must contain keys and values, not a {type(tree).__name__}.")
    return tree


def _is_larger_than(limit: int, tree: Any) -> bool:
    """Returns whether a tree has more values than a limit; aliases count each time."""
    waiting, count = [tree], 0
    while waiting and count <= limit:
        value = waiting.pop()
        count += 1
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count > limit


def read_config_file(path: str, flag: str = "--config") -> Tree:
    """Reads a local YAML file that was passed with a flag."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return parse_yaml(file.read(), path)
    except FileNotFoundError as error:
        raise ConfigError(f"{flag} {path}: the file does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error}.") from error


def to_plain(value: Any) -> Any:
    """Converts a tree of dataclasses to dictionaries, lists and scalars, as YAML stores them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, Size):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


# --------------------------------------------------------------------------------------- validation


@dataclasses.dataclass(frozen=True)
class Problem:
    """A configuration error: the path of the key and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def unknown_keys(
    config_class: type[Any], tree: Mapping[str, Any], prefix: str = ""
) -> list[Problem]:
    """Returns a problem for each unknown key, with its new name or the nearest known ones."""
    problems = []
    known = {field.name: field for field in fields_of(config_class)}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if key not in known:
            renamed = new_name(path)
            if renamed:
                problems.append(Problem(path, f"this key was renamed to {renamed}."))
            else:
                problems.append(Problem(path, f"unknown key.{_hint(str(key), known)}"))
            continue
        nested = section_class(known[key].annotation)
        if nested is not None and isinstance(value, Mapping):
            problems.extend(unknown_keys(nested, value, f"{path}."))
        listed = _class_of_items(known[key].annotation)
        if listed is not None and isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    problems.extend(unknown_keys(listed, item, f"{path}.{index}."))
    return problems


def _hint(key: str, known: Mapping[str, Field]) -> str:
    """Suggests near keys, else the same key in a section, else lists the known keys."""
    sections = {name: section_class(field.annotation) for name, field in known.items()}
    inside = [
        f"{name}.{key}"
        for name, section in sections.items()
        if section is not None and key in {field.name for field in fields_of(section)}
    ]
    if inside and not near_names(key, known):
        return f" Did you mean {' or '.join(map(repr, inside))}?"
    return did_you_mean(key, known)


def check(
    config_class: type[T], tree: Mapping[str, Any], prefix: str = ""
) -> tuple[T | None, list[Problem]]:
    """Validates a tree against a dataclass.

    A leading ``~/`` of any text is replaced by the user's home directory.

    Args:
        config_class: A dataclass with annotated fields.
        tree: Plain values by key; sections may also be instances of their dataclasses.
        prefix: Prepended to the paths of all problems, such as ``model.``.

    Returns:
        The instance, or None if there are problems, and all problems.
    """
    problems = unknown_keys(config_class, tree, prefix)
    unknown = {problem.path for problem in problems}
    plain = _with_choices(config_class, _with_home(_without(tree, unknown, prefix)))
    try:
        instance = pydantic.TypeAdapter(config_class).validate_python(plain)
    except pydantic.ValidationError as error:
        problems += _problems(error.errors(include_url=False), plain, prefix)
        return None, problems
    return (None if problems else instance), problems


def _problems(errors: Sequence[Any], tree: Tree, prefix: str) -> list[Problem]:
    """Converts pydantic's errors, one problem per key: a union has an error per alternative."""
    messages: dict[str, list[str]] = {}
    received: dict[str, str] = {}
    for error in errors:
        if error["type"] == "too_short" and any(
            _is_below(other["loc"], error["loc"]) for other in errors
        ):
            continue  # pydantic counts only the valid members; the invalid ones are reported
        path = prefix + ".".join(map(str, _keys(error, tree)))
        message = _message(error)
        if message not in messages.setdefault(path, []):
            messages[path].append(message)
        # Of the alternatives, those with choices can suggest a near one.
        received[path] = max(received.get(path, ""), _received(error), key=len)
    problems = []
    for path, (first, *others) in messages.items():
        alternatives = [first, *(other.removeprefix("must be ") for other in others)]
        problems.append(Problem(path, " or ".join(alternatives) + received[path]))
    return problems


def _keys(error: Mapping[str, Any], tree: Tree) -> list[int | str]:
    """Returns the keys in the location of an error.

    Pydantic puts other names between them, such as those of the alternatives of a union, which
    differ between its versions. A key is what is found in the values at that place.
    """
    keys: list[int | str] = []
    value: Any = tree
    for part in error["loc"]:
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
        else:
            continue
        keys.append(part)
    return [*keys, error["loc"][-1]] if error["type"] == "missing" else keys


_KINDS = {
    "int": "must be an integer",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "list": "must be a list",
    "dict": "must be a section with keys and values",
    "mapping": "must be a section with keys and values",
    "dataclass": "must be a section with keys and values",
}
_PHRASES = {
    "Input should be greater than or equal to": "must be at least",
    "Input should be less than or equal to": "must be at most",
    "Input should be": "must be",
}
_KIND_ERROR = re.compile(r"(\w+)_(?:type|parsing|from_float|exact_type)$")


def _message(error: Mapping[str, Any]) -> str:
    """Returns pydantic's message in the words of this library."""
    kind = error["type"]
    if kind == "missing":
        return "is required"
    if kind in ("too_short", "too_long"):
        bound, limit = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        count, actual = error["ctx"][limit], error["ctx"]["actual_length"]
        values = "value" if count == 1 else "values"
        return f"takes at {bound} {count} {values}, got {actual}"
    match = _KIND_ERROR.match(kind)
    if match and match[1] in _KINDS:
        return _KINDS[match[1]]
    message = str(error["msg"]).removeprefix("Value error, ")
    for theirs, ours in _PHRASES.items():
        message = message.replace(theirs, ours)
    return message


def _received(error: Mapping[str, Any]) -> str:
    """Returns the end of a message: the rejected value, and the nearest choice if there is one."""
    value = error["input"]
    if error["type"] in ("missing", "too_short", "too_long") or isinstance(value, Mapping):
        return ""
    choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    near = near_names(value, choices) if isinstance(value, str) else ""
    return f"; got {repr(value)[:_SHOWN]}" + (f".{near}" if near else "")


def _is_below(path: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(path) > len(other) and tuple(path[: len(other)]) == tuple(other)


def _with_home(value: Any) -> Any:
    """Replaces a leading ``~/`` in all texts of a tree by the user's home directory."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, Mapping):
        return {key: _with_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_home(item) for item in value]
    return value


_WORDS = {None: "none", True: "on", False: "off", "true": "on", "false": "off"}


def _with_choices(config_class: type[Any], tree: Tree) -> Tree:
    """Converts words of the command line to the choices of Literal fields.

    ``20`` becomes the number if the field offers numbers (pydantic does so for all other kinds of
    fields). ``none``, which is read as no value, and ``on`` and ``off``, which YAML reads as
    booleans, become the choices of these names if there are any, as do ``true`` and ``false``.
    """
    result = dict(tree)
    for field in fields_of(config_class):
        value = result.get(field.name)
        nested = section_class(field.annotation)
        if nested is not None and isinstance(value, dict):
            result[field.name] = _with_choices(nested, value)
        for part in members(field.annotation):
            if typing.get_origin(part) is typing.Literal:
                choices = {str(choice): choice for choice in typing.get_args(part)}
                word = value
                if isinstance(value, str | bool | None) and value not in choices:
                    word = _WORDS.get(value, value)
                if field.name in result and isinstance(word, str) and word in choices:
                    result[field.name] = choices[word]
    return result


def _without(tree: Mapping[str, Any], paths: set[str], prefix: str) -> Tree:
    kept: Tree = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in paths:
            continue
        kept[key] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raises one ConfigError that lists all problems; returns if there are none."""
    if not problems:
        return
    if len(problems) == 1:
        raise ConfigError(str(problems[0]))
    lines = "\n".join(f"  {problem}" for problem in problems)
    raise ConfigError(f"{len(problems)} configuration errors:\n{lines}")


def create(registry: Registry, name: str, options: Any = None) -> Any:
    """Builds a plug-in by name, under the precision policy in force.

    Args:
        registry: Its registry.
        name: One of `registry.names()`.
        options: Values for fields of the plug-in's `Options`, or an instance of it, which is not
            validated again. Other fields keep their defaults.

    Returns:
        What its `build` returns; a network with its name and its complete options.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    module = registry.load(name)
    given = isinstance(options, module.Options)
    chosen = options if given else validate(module.Options, options or {})
    built = module.build(chosen)
    if hasattr(built, "options"):
        return dataclasses.replace(built, name=name, options=dataclasses.asdict(chosen))
    return built


def validate(config_class: type[T], tree: Mapping[str, Any]) -> T:
    """Builds a configuration from plain values, for notebooks and tests.

    Raises:
        ConfigError: Lists all unknown keys, missing values and values out of range.
    """
    instance, problems = check(config_class, tree)
    raise_problems(problems)
    if instance is None:
        raise ConfigError(f"{config_class.__name__} could not be built.")
    return instance
