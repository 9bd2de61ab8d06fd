"""Faults in the files of a source: the first one ends a build, the data doctor collects all."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from tfdeblur.errors import DataError

Kind = Literal["missing-half", "bad-name", "unreadable", "size-differs", "scene-in-two-splits"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault in the files of a source.

    Attributes:
        kind: One of the finding codes of the data doctor.
        file: The file, folder or scene.
        message: The error message of a build.
    """

    kind: Kind
    file: str
    message: str


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


def is_collecting() -> bool:
    """Returns whether faults are collected instead of raised."""
    return _collected.get() is not None


def report(kind: Kind, file: str, message: str) -> None:
    """Raises a DataError, or records the fault while faults are collected.

    If this function returns, the caller skips the faulty file.
    """
    found = _collected.get()
    if found is None:
        raise DataError(message)
    found.append(Fault(kind, file, message))
