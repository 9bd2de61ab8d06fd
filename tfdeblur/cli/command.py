"""Runs a command that is defined by a frozen dataclass of settings and a function.

Flags, help text and validation are all generated from the dataclass, so they cannot disagree.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tfdeblur.cli import flags
from tfdeblur.cli.printable import printable_lines
from tfdeblur.cli.quiet import silence_tensorflow
from tfdeblur.config import plugins
from tfdeblur.config.settings import check, fields_of, merge, raise_problems, read_config_file
from tfdeblur.errors import Stopped, UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

# Limits of the system that any command may meet anywhere.
_LIMITS = {
    errno.EMFILE: "too many open files; raise their limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOSPC: "the disk is full, maybe that of temporary files (TMPDIR)",
    errno.EDQUOT: "the quota is used up, maybe that of temporary files (TMPDIR)",
}

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
    """Parses and validates the flags of a command, calls `run` and returns the exit code.

    Args:
        config_class: Frozen dataclass of the command's settings.
        run: Takes the configuration. If it returns an integer, that is the exit code.
        argv: Arguments of the command line; `sys.argv` if None.
        prog: Name of the command in the help text.
        description: One paragraph for the help text.
        positional: Name of the sequence field that takes the positional arguments, if any.
        short: One-letter flags by field name, such as ``{"out": "o"}``.
    """

    def body() -> int:
        parser = flags.make_parser(prog, description, positional)
        parser.add_argument(
            "--config", metavar="FILE", help="YAML file with the same keys as the flags"
        )
        flags.add_plugins(parser)
        flags.add_flags(parser, config_class, skip=(positional,) if positional else (), short=short)
        if positional:
            (field,) = (field for field in fields_of(config_class) if field.name == positional)
            about = field.description.replace("%", "%%")
            parser.add_argument(
                f"set:{positional}", metavar=positional.upper(), nargs="*", help=about
            )
        namespace, unknown = parser.parse_known_args(argv)
        plugins.load(namespace.plugins)
        problems = flags.reject_unknown_flags(unknown, parser)
        tree = read_config_file(namespace.config) if namespace.config else {}
        values = flags.given(namespace, positional)
        if positional and not values.get(positional):
            values.pop(positional, None)
        config, more = check(config_class, merge(tree, values))
        raise_problems([*problems, *more])
        result = run(config) if config is not None else EXIT_USER_ERROR
        return result if isinstance(result, int) and not isinstance(result, bool) else 0

    return guard(body)


def guard(body: Callable[[], int]) -> int:
    """Runs a command's body; user errors are printed without a traceback.

    Returns:
        The exit code: that of `body`, 2 for user errors and limits of the system, 130 for an
        interrupt, 128 plus the number of the signal for a run that was stopped by one, 1 for a
        closed output pipe.
    """
    open_standard_streams()
    silence_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        # File names are bytes and may not be valid text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = body()
        sys.stdout.flush()
        return code
    except UserError as error:
        # Messages contain file names.
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has exited (`| head`). Python flushes what is left at its end.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _LIMITS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {printable_lines(where)}{_LIMITS[error.errno]}.", file=sys.stderr)
        return EXIT_USER_ERROR


def open_standard_streams() -> None:
    """Connects standard streams that the caller has closed to the null device.

    Otherwise progress bars fail, and the next file that is opened, such as a restored photo, gets
    the number of standard error and receives TensorFlow's messages.
    """
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
