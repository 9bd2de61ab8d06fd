"""Errors that a person can mend: each message names the file or key and says what to do."""

import re


class UserError(Exception):
    """A mistake in what was given to the program, not in the program.

    Commands print the message without a traceback and leave with exit code 2. The message names
    the file or the key and says what to do about it.
    """

    exit_code = 2


class ConfigError(UserError):
    """A configuration that is wrong: an unknown key, a bad value, settings that contradict."""


class DataError(UserError):
    """Data that cannot be used: missing, damaged, of the wrong size, or of another version."""


class WorkerLost(UserError):
    """Another process of a job with several workers is gone, and this one cannot go on alone.

    Commands leave with 75, which says "try again" (``EX_TEMPFAIL`` of ``sysexits.h``): whoever
    starts jobs may tell it from a mistake and start all workers anew.
    """

    exit_code = 75


class Stopped(KeyboardInterrupt):
    """Work that was asked to stop by a signal and has kept what it had.

    Commands print the message and leave with 128 plus the signal's number, as shells expect.

    Args:
        message: What was kept and how to go on.
        signal_number: The signal that came.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


# What TensorFlow puts around the sentence that tells what went wrong.
_NOISE = re.compile(
    r"Graph execution error:|Detected at node|<stack traces|File \"|\d+ root error|\[\[|$"
)
_WRAPPING = re.compile(r"^\{\{[^}]*\}\} |^\(\d+\) [A-Z_]+: +| \[Op:\w+\].*$")


def reason_of(message: str, longest: int = 300) -> str:
    """Returns the line of an error message of TensorFlow that tells what went wrong.

    Args:
        message: What the error says, with the names of graphs and nodes and on several lines.
        longest: Characters that are kept at most.

    Returns:
        One line without a full stop or a colon at its end.
    """
    lines = [line.strip() for line in message.splitlines()]
    line = next((line for line in lines if not _NOISE.match(line)), message.strip())
    return _WRAPPING.sub("", line).rstrip(".: ")[:longest]
