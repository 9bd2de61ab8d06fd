"""User-facing errors. Each message names the offending file or key and how to fix it."""

import re


class UserError(Exception):
    """An error in the input of a command, not in the library.

    Commands print the message without a traceback and exit with code 2.
    """

    exit_code = 2


class ConfigError(UserError):
    """An invalid configuration: an unknown key, an invalid value, conflicting settings."""


class DataError(UserError):
    """Unusable data: missing, damaged, of the wrong size, or of another version."""


class WorkerLost(UserError):
    """Another worker of a job was lost, and this one cannot continue without it.

    Commands exit with code 75, "try again" (``EX_TEMPFAIL`` of ``sysexits.h``), so that a scheduler
    can distinguish it from a user error and restart all workers.
    """

    exit_code = 75


class Stopped(KeyboardInterrupt):
    """A run stopped by a signal after it saved its progress.

    Commands print the message and exit with code 128 plus the number of the signal, as shells do.

    Args:
        message: What was saved and how to resume.
        signal_number: The number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class NotNeeded(Stopped):
    """A worker of a job that has nothing to do; commands print the message and exit with 0."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)
        self.exit_code = 0


# Lines and prefixes that TensorFlow adds to the actual reason.
_NOISE = re.compile(
    r"Graph execution error:|Detected at node|<stack traces|File \"|\d+ root error|\[\[|$"
)
_WRAPPING = re.compile(r"^\{\{[^}]*\}\} |^\(\d+\) [A-Z_]+: +| \[Op:\w+\].*$")

# Characters of a reason.
_LONGEST = 300


def reason_of(error: BaseException | str) -> str:
    r"""Returns the line of an error that gives the reason.

    Args:
        error: An exception, or its message. Those of TensorFlow have several lines, with names of
            graphs and nodes.

    Returns:
        One line of at most 300 characters, without a period or colon at its end; the type of an
        exception without a message.

    Example:
        >>> reason_of("Graph execution error:\n\n  (0) NOT_FOUND:  train-0; No such file [Op:A]")
        'train-0; No such file'
        >>> reason_of(MemoryError())
        'MemoryError'
    """
    if isinstance(error, BaseException):
        # The text of a KeyError is the representation of its argument.
        named = isinstance(error, KeyError) and error.args
        message = str(error.args[0] if named else error) or type(error).__name__
    else:
        message = error
    lines = [line.strip() for line in message.splitlines()]
    line = next((line for line in lines if not _NOISE.match(line)), message.strip())
    return _WRAPPING.sub("", line).rstrip(".: ")[:_LONGEST]
