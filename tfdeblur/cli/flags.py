"""Command-line flags and help text generated from configuration dataclasses."""

import argparse
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.config.settings import (
    Field,
    Problem,
    Tree,
    fields_of,
    is_bool,
    is_sequence,
    members,
    put,
    section_class,
)
from tfdeblur.errors import ConfigError
from tfdeblur.registry import did_you_mean


class HelpFormatter(argparse.HelpFormatter):
    """Help with room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


def _default_text(field: Field) -> str:
    if field.required:
        return "required"
    if field.default in (None, (), ""):
        return ""
    if isinstance(field.default, tuple) and not is_sequence(field.annotation):
        # A size, which is written the other way round than it is kept.
        return "default " + "x".join(str(item) for item in reversed(field.default))
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
    short: Mapping[str, str] | None = None,
    groups: argparse.ArgumentParser | None = None,
) -> None:
    """Adds a flag for each field: ``--section.field``; underscores become hyphens.

    `short` gives single letters by the name of their field. Sections become groups of `groups`
    where `parser` is a group itself, which cannot hold others.

    Every flag's destination is ``set:`` and the path of its key, and it is absent from the
    namespace unless it was given, so that defaults stay in one place, the dataclass.
    """
    for field in fields_of(config_class):
        path = f"{prefix}{field.name}"
        if path in skip:
            continue
        nested = section_class(field.annotation)
        if nested is not None:
            group = (groups or parser).add_argument_group(path, field.description or None)
            add_flags(group, nested, f"{path}.", skip)
            continue
        long = f"--{path.replace('_', '-')}"
        letter = (short or {}).get(path)
        add_flag(parser, path, field, *([f"-{letter}"] if letter else []), long)


def add_flag(
    parser: argparse._ActionsContainer, path: str, field: Field, *flags: str, const: Any = None
) -> None:
    """Adds one flag, in all its spellings, for one field."""
    help_text = " ".join(
        part
        for part in (
            field.description,
            _choices_text(field.annotation),
            f"({_default_text(field)})" if _default_text(field) else "",
        )
        if part
    ).replace("%", "%%")
    arguments: dict[str, Any] = {
        "dest": f"set:{path}",
        "default": argparse.SUPPRESS,
        "help": help_text,
    }
    if is_bool(field.annotation):
        parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **arguments)
    elif is_sequence(field.annotation):
        parser.add_argument(*flags, nargs="+", metavar=field.name.upper(), **arguments)
    elif const is not None:
        parser.add_argument(*flags, nargs="?", const=const, metavar=field.name.upper(), **arguments)
    else:
        parser.add_argument(*flags, metavar=field.name.upper(), **arguments)


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
    word = flag.removeprefix("--")
    # Whoever leaves the section out means the flag that ends alike.
    same = sorted(name for name in known if name.rpartition(".")[2] == word)
    if same:
        return f" Did you mean {' or '.join(map(repr, same))}?"
    hint = did_you_mean(flag, known - {"--help"})
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
