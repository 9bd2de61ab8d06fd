"""Faults of a source: the first one ends a build; the doctor lists them all and goes on."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from tfdeblur.errors import DataError

Kind = Literal[
    "missing-half",
    "missing-folder",
    "empty-folder",
    "same-name",
    "unknown-name",
    "unreadable",
    "size-differs",
    "scene-in-two-splits",
    "bad-clip",
]


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something wrong in the files of a source.

    Attributes:
        kind: What it is, in a word.
        file: The file, folder or scene that it is about.
        message: What a build says of it.
    """

    kind: Kind
    file: str
    message: str


_collected: ContextVar[list[Fault] | None] = ContextVar("faults", default=None)


@contextmanager
def collecting() -> Iterator[list[Fault]]:
    """Lets listings go on after a fault, without what is faulty, and gives all faults."""
    found: list[Fault] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def is_collecting() -> bool:
    """Tells whether faults are collected: whoever finds one goes on to the next."""
    return _collected.get() is not None


def report(fault: Fault) -> None:
    """Ends the listing with a DataError, or notes the fault while faults are collected.

    In the latter case it returns, and the caller leaves out what is faulty.
    """
    found = _collected.get()
    if found is None:
        raise DataError(fault.message)
    found.append(fault)
