"""Command lines out of dataclasses: flags, ``--config`` files, and all errors at once.

A command is a frozen dataclass and a function that takes it. The flags, the help text, the
validation and the printed configuration all come from the dataclass, so they cannot disagree.
Values are validated by pydantic, which reports every error with the path of its key; the nearest
known name is added here.
"""

import argparse
import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic.fields import FieldInfo

from tfdeblur.errors import ConfigError, UserError
from tfdeblur.registry import did_you_mean

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

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


def _is_sequence(annotation: Any) -> bool:
    return any(typing.get_origin(part) in (tuple, list) for part in members(annotation))


def _is_bool(annotation: Any) -> bool:
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
    """Sets ``a.b.c`` in a tree of dictionaries, making the sections on the way."""
    *sections, leaf = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = value


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


def read_config_file(path: str) -> Tree:
    """Reads a local YAML file given with ``--config``."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_yaml(file.read(), path)
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path}: there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} cannot be read: {error}.") from error


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
        if nested is not None and isinstance(value, Mapping) and not is_open(nested):
            problems.extend(unknown_keys(nested, value, f"{path}."))
    return problems


def is_open(config_class: type[Any]) -> bool:
    """Tells whether a section takes keys of its own, as that of a plug-in's options does."""
    return bool(getattr(config_class, "__open_section__", False))


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
        for item in error.errors(include_url=False):
            path = prefix + ".".join(str(part) for part in item["loc"] if _is_key(part))
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "missing":
                message = "is needed and was not given"
            elif not isinstance(item["input"], Mapping):
                message = f"{message}; got {item['input']!r}"
            if (path, message) not in seen:
                seen.add((path, message))
                problems.append(Problem(path, message))
        return None, problems
    return (None if problems else instance), problems


def _with_choices(config_class: type[Any], tree: Tree) -> Tree:
    """Reads the word ``20`` as the number where a field offers numbers to choose from.

    pydantic reads numbers out of words for every other kind of field.
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
                if isinstance(value, str) and value in choices:
                    result[field.name] = choices[value]
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


# -------------------------------------------------------------------------------------------- flags


class HelpFormatter(argparse.HelpFormatter):
    """Help with room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


def _default_text(field: Field) -> str:
    if field.required:
        return "required"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, tuple):
        return "default " + " ".join(str(item) for item in field.default)
    return f"default {field.default}"


def _choices_text(annotation: Any) -> str:
    for part in members(annotation):
        if typing.get_origin(part) is typing.Literal:
            return "{" + ",".join(str(choice) for choice in typing.get_args(part)) + "}"
    return ""


def add_flags(
    parser: argparse._ActionsContainer,
    config_class: type[Any],
    prefix: str = "",
    skip: Sequence[str] = (),
) -> None:
    """Adds a flag for each field: ``--section.field``; underscores become hyphens.

    Every flag's destination is ``set:`` and the path of its key, and it is absent from the
    namespace unless it was given, so that defaults stay in one place, the dataclass.
    """
    for field in fields_of(config_class):
        path = f"{prefix}{field.name}"
        if path in skip:
            continue
        nested = section_class(field.annotation)
        if nested is not None:
            group = parser.add_argument_group(path, field.description or None)
            add_flags(group, nested, f"{path}.", skip)
            continue
        add_flag(parser, path, field)


def add_flag(
    parser: argparse._ActionsContainer, path: str, field: Field, *flags: str, const: Any = None
) -> None:
    """Adds one flag for one field; `flags` replaces its usual spelling."""
    help_text = " ".join(
        part
        for part in (
            field.description,
            _choices_text(field.annotation),
            f"({_default_text(field)})" if _default_text(field) else "",
        )
        if part
    ).replace("%", "%%")
    names = flags or (f"--{path.replace('_', '-')}",)
    arguments: dict[str, Any] = {
        "dest": f"set:{path}",
        "default": argparse.SUPPRESS,
        "help": help_text,
    }
    if _is_bool(field.annotation):
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, **arguments)
    elif _is_sequence(field.annotation):
        parser.add_argument(*names, nargs="+", metavar=field.name.upper(), **arguments)
    elif const is not None:
        parser.add_argument(*names, nargs="?", const=const, metavar=field.name.upper(), **arguments)
    else:
        parser.add_argument(*names, metavar=field.name.upper(), **arguments)


def plain_value(value: Any) -> Any:
    """Reads a word of the command line as YAML would: ``3``, ``1e-4``, ``true``, ``none``."""
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.lower() in ("none", "null"):
        return None
    return value


def given(namespace: argparse.Namespace) -> Tree:
    """Returns the tree of values that were given as flags."""
    tree: Tree = {}
    for key, value in vars(namespace).items():
        if key.startswith("set:"):
            put(tree, key.removeprefix("set:"), plain_value(value))
    return tree


def reject_unknown_flags(unknown: Sequence[str], parser: argparse.ArgumentParser) -> list[Problem]:
    """Turns words that no flag took into problems with the nearest flags."""
    known = {option for action in parser._actions for option in action.option_strings}
    problems = []
    for word in unknown:
        if word.startswith("--"):
            flag = word.split("=")[0]
            problems.append(Problem(flag, f"unknown flag.{_near_flag(flag, known)}"))
        elif not problems:
            problems.append(Problem(word, "was not expected here; give --help to see the flags."))
    return problems


def _near_flag(flag: str, known: set[str]) -> str:
    hint = did_you_mean(flag, known)
    return hint if "Did you mean" in hint else " Give --help to see the flags."


class Parser(argparse.ArgumentParser):
    """An argument parser whose own complaints are ConfigErrors, printed like all others."""

    def error(self, message: str) -> typing.NoReturn:
        """Raises what argparse would print with its usage."""
        raise ConfigError(f"{message}. Give --help to see the flags.")


def make_parser(prog: str, description: str, positional: str | None = None) -> Parser:
    """Builds a parser with a usage line that stays readable however many flags there are."""
    words = f" {positional.upper()}..." if positional else ""
    return Parser(
        prog=prog,
        usage=f"%(prog)s{words} [flags]",
        description=description,
        formatter_class=HelpFormatter,
        # An abbreviated flag would hide a misspelled one.
        allow_abbrev=False,
    )


def run_command(
    config_class: type[T],
    run: Callable[[T], Any],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    description: str,
    positional: str | None = None,
) -> int:
    """Runs a command: reads its flags, validates them, calls `run`, and returns the exit code.

    Args:
        config_class: Frozen dataclass of the command's settings.
        run: Takes the configuration. It may return an integer, which becomes the exit code.
        argv: Words of the command line; None reads `sys.argv`.
        prog: How the command is called, for the help text.
        description: One paragraph for the help text.
        positional: Name of the sequence field that takes the words without a flag, if any.
    """

    def body() -> int:
        parser = make_parser(prog, description, positional)
        parser.add_argument(
            "--config", metavar="FILE", help="YAML file with the same keys as the flags"
        )
        add_flags(parser, config_class, skip=(positional,) if positional else ())
        if positional:
            parser.add_argument(f"set:{positional}", metavar=positional.upper(), nargs="*")
        namespace, unknown = parser.parse_known_args(argv)
        problems = reject_unknown_flags(unknown, parser)
        tree = read_config_file(namespace.config) if namespace.config else {}
        values = given(namespace)
        if positional and not values.get(positional):
            values.pop(positional, None)
        config, more = check(config_class, merge(tree, values))
        raise_problems([*problems, *more])
        result = run(config) if config is not None else EXIT_USER_ERROR
        return result if isinstance(result, int) and not isinstance(result, bool) else 0

    return guard(body)


def guard(body: Callable[[], int]) -> int:
    """Runs a command's body; a person's mistake becomes one line and an honest exit code."""
    # TensorFlow's start-up notices would bury what a command has to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return body()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody left to tell.
        return 1
