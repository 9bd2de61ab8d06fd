"""Runs a command: a frozen dataclass of settings and a function that takes it.

Flags, help text, validation and the printed configuration all come from the dataclass, so they
cannot disagree.
"""

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tfdeblur.cli import flags
from tfdeblur.config.settings import check, merge, raise_problems, read_config_file
from tfdeblur.errors import Stopped, UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

T = TypeVar("T")


def run_command(
    config_class: type[T],
    run: Callable[[T], Any],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    description: str,
    positional: str | None = None,
    short: Mapping[str, str] | None = None,
) -> int:
    """Runs a command: reads its flags, validates them, calls `run`, and returns the exit code.

    Args:
        config_class: Frozen dataclass of the command's settings.
        run: Takes the configuration. It may return an integer, which becomes the exit code.
        argv: Words of the command line; None reads `sys.argv`.
        prog: How the command is called, for the help text.
        description: One paragraph for the help text.
        positional: Name of the sequence field that takes the words without a flag, if any.
        short: Single letters by the name of their field, such as ``{"out": "o"}``.
    """

    def body() -> int:
        parser = flags.make_parser(prog, description, positional)
        parser.add_argument(
            "--config", metavar="FILE", help="YAML file with the same keys as the flags"
        )
        flags.add_flags(parser, config_class, skip=(positional,) if positional else (), short=short)
        if positional:
            parser.add_argument(f"set:{positional}", metavar=positional.upper(), nargs="*")
        namespace, unknown = parser.parse_known_args(argv)
        problems = flags.reject_unknown_flags(unknown, parser)
        tree = read_config_file(namespace.config) if namespace.config else {}
        values = flags.given(namespace)
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
    for stream in (sys.stdout, sys.stderr):
        # A file's name need not be text; it is shown as far as it is.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return body()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody left to tell.
        return 1
