"""Command-line flags and help text generated from configuration dataclasses."""

import argparse
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tfdeblur.cli.printable import printable
from tfdeblur.config.renamed import new_name
from tfdeblur.config.settings import (
    Field,
    Problem,
    Tree,
    fields_of,
    is_bool,
    is_mapping,
    is_sequence,
    members,
    parse_yaml,
    put,
    section_class,
    to_plain,
)
from tfdeblur.errors import ConfigError
from tfdeblur.registry import near_names


class HelpFormatter(argparse.HelpFormatter):
    """Help text with room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


def _default_text(field: Field) -> str:
    if field.required:
        return "required"
    if field.default in (None, (), "", {}):
        return ""
    if is_mapping(field.annotation) or is_bool(field.annotation):
        return f"default {as_yaml(field.default)}"
    if is_sequence(field.annotation):
        return "default " + " ".join(str(item) for item in field.default)
    return f"default {field.default}"


def as_yaml(value: Any) -> str:
    """Returns a value as one line of YAML, which the flag of its field accepts.

    Example:
        >>> as_yaml({"mse": 1.0, "fft": 0.1})
        '{mse: 1.0, fft: 0.1}'
    """
    text = yaml.safe_dump(to_plain(value), default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip().removesuffix("...").strip()


def _choices(annotation: Any) -> tuple[Any, ...]:
    for part in members(annotation):
        if typing.get_origin(part) is typing.Literal:
            return typing.get_args(part)
    return ()


def add_flags(
    parser: argparse._ActionsContainer,
    config_class: type[Any],
    prefix: str = "",
    skip: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
    groups: argparse.ArgumentParser | None = None,
) -> None:
    """Adds a flag for each field: ``--section.field``, with hyphens for underscores.

    The destination of a flag is ``set:`` and the path of its key. Flags that are not set are
    absent from the namespace, so defaults are defined in one place, the dataclass.

    Args:
        parser: The parser or group that gets the flags.
        config_class: The dataclass.
        prefix: Prepended to the path of each key, such as ``model.``.
        skip: Paths without a flag.
        short: One-letter flags by path.
        groups: Gets the groups of sections; needed if `parser` is a group, which has no groups.
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
    """Adds a flag for one field.

    Args:
        parser: The parser or group that gets the flag.
        path: Path of the key.
        field: The field.
        *flags: All spellings of the flag.
        const: Value of the flag without an argument; None requires an argument, except for a field
            that can be ``on``.
    """
    choices = _choices(field.annotation)
    if "on" in choices:
        const = "on"
    help_text = " ".join(
        part
        for part in (
            field.description,
            "{" + ",".join(map(str, choices)) + "}" if choices else "",
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


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Adds ``--plugins``, the modules from outside that a command imports."""
    parser.add_argument(
        "--plugins",
        metavar="MODULE",
        action="append",
        default=[],
        help="module or .py file to import, which registers models, critics, objectives, metrics "
        "or sources; repeat it for several",
    )


def given_plugins(words: Sequence[str]) -> list[str]:
    """Returns the modules of ``--plugins`` among the words of a command line."""
    parser = Parser(add_help=False, allow_abbrev=False)
    add_plugins(parser)
    modules: list[str] = parser.parse_known_args(words)[0].plugins
    return modules


def plain_value(path: str, value: Any) -> Any:
    """Reads an argument of the command line: ``none``, a YAML list or mapping, or a word.

    Words stay text, which validation converts to the type of the field.

    Args:
        path: Path of the key, for messages.
        value: A word, a list of words, or a value that argparse has converted.

    Raises:
        ConfigError: The word starts like a list or mapping and is not valid YAML, or it is not
            UTF-8, which TensorFlow and the files of a run need.

    Example:
        >>> plain_value("objective.losses", "{log_cosh: 1.0}")
        {'log_cosh': 1.0}
        >>> plain_value("model.encoder", "[1, 1, 28]")
        [1, 1, 28]
    """
    if isinstance(value, list):
        return [plain_value(path, item) for item in value]
    if not isinstance(value, str):
        return value
    if not _is_utf8(value):
        raise ConfigError(
            f"{path}: {printable(value)} is not UTF-8. Rename it, or give a link of another name."
        )
    if value.lower() in ("none", "null"):
        return None
    if (value[:1], value[-1:]) in (("{", "}"), ("[", "]")):
        return parse_yaml(f"value: {value}", f"{path}: {value!r}")["value"]
    return value


def _is_utf8(text: str) -> bool:
    # Python decodes other bytes of the command line to surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def given(namespace: argparse.Namespace, positional: str | None = None) -> Tree:
    """Returns the tree of values that were set by flags.

    Args:
        namespace: What `add_flags` parsed.
        positional: The field of positional arguments, which are names of files: any bytes.
    """
    tree: Tree = {}
    for key, value in vars(namespace).items():
        if key.startswith("set:"):
            path = key.removeprefix("set:")
            put(tree, path, value if path == positional else plain_value(path, value))
    return tree


# Flags of other toolkits, and ours; the first that a command has is suggested.
FOREIGN = {
    "--arch": ("--model",),
    "--batch": ("--training.global-batch", "--global-batch", "--max-pixels"),
    "--batch-size": ("--training.global-batch", "--global-batch", "--max-pixels"),
    "--checkpoint": ("--training.init-from", "--model"),
    "--ckpt": ("--training.init-from", "--model"),
    "--crop-size": ("--data.crop",),
    "--data-dir": ("--data.paths",),
    "--data-path": ("--data.paths",),
    "--dataset": ("--data.paths",),
    "--devices": ("--runtime.strategy",),
    "--discriminator": ("--critic",),
    "--ema": ("--training.ema-decay",),
    "--exp-dir": ("--workdir",),
    "--gpus": ("--runtime.strategy",),
    "--jobs": ("--workers",),
    "--lr": ("--optimizer.learning-rate",),
    "--lr-rate": ("--optimizer.learning-rate",),
    "--lr-schedule": ("--schedule.name",),
    "--lr-scheduler": ("--schedule.name",),
    "--max-epochs": ("--epochs",),
    "--max-steps": ("--steps",),
    "--network": ("--model",),
    "--num-epochs": ("--epochs",),
    "--num-gpus": ("--runtime.strategy",),
    "--num-processes": ("--workers",),
    "--num-steps": ("--steps",),
    "--num-workers": ("--workers",),
    "--opt": ("--optimizer.name",),
    "--optim": ("--optimizer.name",),
    "--output-dir": ("--out", "--workdir"),
    "--patch-size": ("--data.crop",),
    "--pretrained": ("--training.init-from", "--model"),
    "--resume": ("--workdir",),
    "--save-dir": ("--out", "--workdir"),
    "--scheduler": ("--schedule.name",),
    "--val-split": ("--output.validation-split",),
    "--wd": ("--optimizer.weight-decay",),
}
# Answers for commands that have none of them.
_GPUS = "The environment variable CUDA_VISIBLE_DEVICES chooses GPUs."
_WITHOUT_FLAG = {
    "--gpus": _GPUS,
    "--num-gpus": _GPUS,
    "--num-workers": "The number of threads is chosen automatically.",
}


def reject_unknown_flags(unknown: Sequence[str], parser: argparse.ArgumentParser) -> list[Problem]:
    """Returns a problem for each unknown flag, with the nearest known ones."""
    known = {option for action in parser._actions for option in action.option_strings}
    problems = []
    for word in unknown:
        if word.startswith("--"):
            flag = word.split("=")[0]
            problems.append(Problem(flag, _unknown_flag(flag, known)))
        elif not problems:
            problems.append(Problem(word, f"unexpected argument.{_SEE_HELP}"))
    return problems


_SEE_HELP = " Run with --help to see all flags."


def _unknown_flag(flag: str, known: set[str]) -> str:
    renamed = new_name(flag.removeprefix("--").replace("-", "_"))
    if renamed:
        return f"this flag was renamed to --{renamed.replace('_', '-')}."
    # A flag without its section, or the flag of another toolkit; some write underscores.
    word = flag.removeprefix("--").replace("_", "-")
    same = sorted(name for name in known if name.rpartition(".")[2] == word)
    same = same or [name for name in FOREIGN.get(f"--{word}", ()) if name in known][:1]
    if same:
        return f"unknown flag. Did you mean {' or '.join(map(repr, same))}?"
    if f"--{word}" in _WITHOUT_FLAG:
        return f"unknown flag. {_WITHOUT_FLAG[f'--{word}']}"
    return f"unknown flag.{near_names(flag, known - {'--help'}) or _SEE_HELP}"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises its errors as ConfigErrors."""

    def error(self, message: str) -> typing.NoReturn:
        """Raises the error that argparse would print with its usage."""
        raise ConfigError(f"{message}.{_SEE_HELP}")


def make_parser(prog: str, description: str, positional: str | None = None) -> Parser:
    """Builds a parser with a short usage line."""
    words = f" {positional.upper()}..." if positional else ""
    return Parser(
        prog=prog,
        usage=f"%(prog)s{words} [flags]",
        description=description,
        formatter_class=HelpFormatter,
        # Abbreviations would hide misspelled flags.
        allow_abbrev=False,
    )
