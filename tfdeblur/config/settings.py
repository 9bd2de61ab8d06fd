"""Trees of plain values and the dataclasses they become: merging, reading, validating.

Values are validated by pydantic, which reports every error with the path of its key; the nearest
known name is added here.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic.fields import FieldInfo

from tfdeblur.errors import ConfigError
from tfdeblur.registry import did_you_mean

T = TypeVar("T")
Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a configuration dataclass, taken apart for flags and messages."""

    name: str
    annotation: Any
    description: str
    default: Any
    required: bool


def fields_of(config_class: type[Any]) -> list[Field]:
    """Returns the fields of a dataclass with the descriptions of their annotations."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    found = []
    for field in dataclasses.fields(config_class):
        annotation, description = hints[field.name], ""
        if typing.get_origin(annotation) is Annotated:
            annotation, *extras = typing.get_args(annotation)
            description = next(
                (e.description or "" for e in extras if isinstance(e, FieldInfo)), ""
            )
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


def is_sequence(annotation: Any) -> bool:
    """Tells whether a field takes several values."""
    return any(typing.get_origin(part) in (tuple, list) for part in members(annotation))


def is_bool(annotation: Any) -> bool:
    """Tells whether a field is a switch."""
    return members(annotation) == (bool,)


# ---------------------------------------------------------------------------- trees of plain values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Returns `base` with the values of `over` in it, section by section.

    A section that chooses a plug-in by ``name`` starts afresh when the later one names another:
    options of one model never reach another model.
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
    """Sets ``a.b.c`` in a tree of dictionaries, making the sections on the way.

    Raises:
        ConfigError: One of them has been given a value, or a value would replace a section.
    """
    *sections, leaf = path.split(".")
    for depth, section in enumerate(sections, 1):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise _twice(".".join(sections[:depth]), inner, path)
        tree = inner
    old = tree.get(leaf)
    if isinstance(old, dict) and not isinstance(value, dict):
        raise _twice(path, value, f"{path}.{next(iter(old))}")
    tree[leaf] = value


def _twice(path: str, value: Any, inside: str) -> ConfigError:
    return ConfigError(
        f"{path}: was given as {'none' if value is None else repr(value)} and as a section "
        f"({inside}). Give one of the two."
    )


def parse_yaml(text: str, origin: str) -> Tree:
    """Reads a YAML mapping.

    Raises:
        ConfigError: It is not YAML or not a mapping; the message names `origin` and the line.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} must hold keys and values, not {type(tree).__name__}.")
    return tree


def read_config_file(path: str, flag: str = "--config") -> Tree:
    """Reads a local YAML file that was given with a flag."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_yaml(file.read(), path)
    except FileNotFoundError as error:
        raise ConfigError(f"{flag} {path}: there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error}.") from error


def to_plain(value: Any) -> Any:
    """Turns a dataclass tree into dictionaries, lists and scalars that YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


# --------------------------------------------------------------------------------------- validation


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration: the path of the key, and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def unknown_keys(
    config_class: type[Any], tree: Mapping[str, Any], prefix: str = ""
) -> list[Problem]:
    """Finds keys that the dataclass does not have, with the nearest that it has."""
    problems = []
    known = {field.name: field for field in fields_of(config_class)}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if key not in known:
            problems.append(Problem(path, f"unknown key.{did_you_mean(str(key), known)}"))
            continue
        nested = section_class(known[key].annotation)
        if nested is not None and isinstance(value, Mapping):
            problems.extend(unknown_keys(nested, value, f"{path}."))
    return problems


def check(
    config_class: type[T], tree: Mapping[str, Any], prefix: str = ""
) -> tuple[T | None, list[Problem]]:
    """Validates a tree against a dataclass.

    Returns:
        The instance, or None where there are problems, and all problems found.
    """
    problems = unknown_keys(config_class, tree, prefix)
    unknown = {problem.path for problem in problems}
    adapter = pydantic.TypeAdapter(config_class)
    try:
        instance = adapter.validate_python(
            _with_choices(config_class, _without(tree, unknown, prefix))
        )
    except pydantic.ValidationError as error:
        seen = set()
        items = error.errors(include_url=False)
        for item in items:
            if item["type"] == "too_short" and any(
                _is_below(one["loc"], item["loc"]) for one in items
            ):
                continue  # pydantic leaves the members out that are wrong, and counts the rest
            path = prefix + ".".join(str(part) for part in item["loc"] if _is_key(part))
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "missing":
                message = "is needed and was not given"
            elif item["type"] in _LENGTHS:
                counts = item["ctx"]
                limit, text = _LENGTHS[item["type"]]
                message = text.format(
                    counts[limit], "s"[: counts[limit] != 1], counts["actual_length"]
                )
            elif not isinstance(item["input"], Mapping):
                message = f"{message}; got {item['input']!r}"
            if (path, message) not in seen:
                seen.add((path, message))
                problems.append(Problem(path, message))
        return None, problems
    return (None if problems else instance), problems


_LENGTHS = {
    "too_short": ("min_length", "needs at least {} value{}; {} were given"),
    "too_long": ("max_length", "takes at most {} value{}; {} were given"),
}


def _is_below(path: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(path) > len(other) and tuple(path[: len(other)]) == tuple(other)


def _with_choices(config_class: type[Any], tree: Tree) -> Tree:
    """Reads words as the choices that they stand for.

    ``20`` is the number where a field offers numbers (pydantic reads numbers out of words for every
    other kind of field), and ``none``, which the command line reads as no value at all, is the
    choice of that name where there is one.
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
                word = "none" if value is None and field.name in result else value
                if isinstance(word, str) and word in choices:
                    result[field.name] = choices[word]
    return result


def _is_key(part: int | str) -> bool:
    # pydantic names the members of a union in the path ("int", "tuple[int, int]"); keys are
    # identifiers in lower case that are not type names.
    return isinstance(part, int) or (
        part.isidentifier() and part not in ("int", "float", "str", "bool", "function-after")
    )


def _without(tree: Mapping[str, Any], paths: set[str], prefix: str) -> Tree:
    kept: Tree = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in paths:
            continue
        kept[key] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raises one ConfigError that lists all problems, or returns where there are none."""
    if not problems:
        return
    if len(problems) == 1:
        raise ConfigError(str(problems[0]))
    lines = "\n".join(f"  {problem}" for problem in problems)
    raise ConfigError(f"{len(problems)} things are wrong with the configuration:\n{lines}")


def validate(config_class: type[T], tree: Mapping[str, Any]) -> T:
    """Builds a configuration from plain values, for notebooks and tests.

    Raises:
        ConfigError: Lists every unknown key, missing value and value out of range.
    """
    instance, problems = check(config_class, tree)
    raise_problems(problems)
    if instance is None:
        raise ConfigError(f"{config_class.__name__} could not be built.")
    return instance
