"""Reads the compiler's buffer assignment, which is known long before the compilation ends.

XLA first optimizes a program as a whole, then assigns every value to a place in memory, and then
generates the chip's code operation by operation. The last phase takes nearly all of the time and
does not change the assignment. With dumps enabled, XLA writes the assignment to a file at once.
"""

import glob
import os
import re

# Environment variable that enables dumps; it is read when JAX is imported.
VARIABLE = "XLA_FLAGS"

# The buffer assignment, and a file that is written right after it.
_ASSIGNMENT = "*.after_optimizations-buffer-assignment.txt"
_NEXT = "*.after_optimizations_after_buffer_assignment.txt"

# `color` is a memory other than HBM: that on the chip, or one for flags.
_ALLOCATION = re.compile(
    r"^allocation \d+: size (?P<size>\d+),(?P<color> color \d+,)?(?P<kind>.*)$"
)


def flags(folder: str, given: str = "") -> str:
    """Returns the value of `VARIABLE` that makes XLA write dumps to a folder.

    Args:
        folder: The folder.
        given: The present value, which is kept.
    """
    return f"{given} --xla_dump_to={folder} --xla_dump_hlo_as_text".strip()


def find(folder: str, ended: bool = False) -> dict[str, int] | None:
    """Returns the bytes by kind of the program whose buffer assignment is in a folder.

    Args:
        folder: The folder of the dumps.
        ended: Whether the compiler has ended.

    Returns:
        See `parse`; None if the assignment is missing or may be incomplete.
    """
    found = glob.glob(os.path.join(glob.escape(folder), _ASSIGNMENT))
    if not found or not (ended or glob.glob(os.path.join(glob.escape(folder), _NEXT))):
        return None
    with open(found[0], encoding="utf-8") as file:
        return parse(file.read())


def parse(text: str) -> dict[str, int] | None:
    """Parses a buffer assignment.

    Args:
        text: The buffer assignment as XLA writes it.

    Returns:
        Bytes by kind: arguments, outputs, aliased, temporaries, and code (0); None if the format
        is unknown.
    """
    memory = dict.fromkeys(("arguments", "outputs", "aliased", "temporaries", "code"), 0)
    known = False
    for line in text.splitlines():
        found = _ALLOCATION.match(line)
        if found is None or found["color"]:
            continue
        size, kind = int(found["size"]), found["kind"]
        argument, output = " parameter " in kind, "maybe-live-out" in kind
        memory["arguments"] += size * argument
        memory["outputs"] += size * output
        memory["aliased"] += size * (argument and output)
        memory["temporaries"] += size * ("preallocated-temp" in kind)
        known = known or argument
    return memory if known else None
