"""Faults in the files of a source: the first one ends a listing, unless all are collected."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from tfdeblur.errors import DataError

# Maximum number of faults of a kind in one message.
SHOWN = 3
# Finding codes of the data doctor.
Code = Literal[
    "bad-name",
    "missing-half",
    "not-a-file",
    "scene-in-two-splits",
    "size-differs",
    "too-large",
    "unavailable",
    "unreadable",
    "unsupported-pixels",
]


class Fault(DataError):
    """A fault in a file of a source.

    Args:
        code: The kind of fault.
        file: The file, folder or scene.
        message: The message of the exception.
    """

    def __init__(self, code: Code, file: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send it to the main process; by default only the message would be pickled.
        return type(self), (self.code, self.file, str(self))


_collected: ContextVar[list[Fault] | None] = ContextVar("faults", default=None)


@contextmanager
def collecting() -> Iterator[list[Fault]]:
    """Collects faults in the list that it yields; listings skip faulty files and continue."""
    found: list[Fault] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def summary(found: Sequence[Fault], remedy: str = "") -> DataError:
    """Returns one error about several faults: their number and the first few of each kind.

    Args:
        found: At least one fault.
        remedy: A sentence that follows.
    """
    ending = f" {remedy}" if remedy else ""
    if len(found) == 1:
        return DataError(f"{found[0]}{ending}")
    lines = [f"{len(found)} faults in the source.{ending}"]
    for code in sorted({fault.code for fault in found}):
        messages = [str(fault) for fault in found if fault.code == code]
        lines += [f"  {code}: {message}" for message in messages[:SHOWN]]
        if len(messages) > SHOWN:
            lines.append(f"  {code}: and {len(messages) - SHOWN} more.")
    return DataError("\n".join(lines))


def is_collecting() -> bool:
    """Returns whether faults are collected instead of raised."""
    return _collected.get() is not None


def report(fault: Fault) -> None:
    """Raises a fault, or collects it; if this function returns, the caller skips the file."""
    found = _collected.get()
    if found is None:
        raise fault
    found.append(fault)
