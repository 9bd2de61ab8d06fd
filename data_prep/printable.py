"""Makes file names safe to print on a terminal.

A name can contain escape sequences, bells, line breaks and characters that reverse the direction of
text. All of them are printed as backslash escapes, and so are bytes that are not UTF-8.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tfdeblur.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def printable(text: str) -> str:
    r"""Returns one line of text with unprintable characters escaped, such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_line(text: str) -> None:
    """Prints one line of text that may contain names."""
    print(printable(text))


def printable_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Wraps a function so that the messages of the user errors it raises are printable."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            # Some messages are lists with one problem per line.
            error.args = ("\n".join(map(printable, str(error).split("\n"))),)
            raise

    return wrapped
