"""Reads where the compiler puts what: its plan of the memory, which it makes early.

XLA first rewrites a program as a whole, then gives every value its place in the memory, and then
makes the chip's instructions, operation by operation. The last takes nearly all of the time and
changes nothing of the places. Asked for dumps, XLA writes the plan down as soon as it is made, so
whoever wants only the memory need not wait for the rest.
"""

import glob
import os
import re

# What asks for dumps; the variable is read when JAX is imported.
VARIABLE = "XLA_FLAGS"

# The plan, and a file that is written right after it.
_PLAN = "*.after_optimizations-buffer-assignment.txt"
_NEXT = "*.after_optimizations_after_buffer_assignment.txt"

# `color` is a memory other than the large one: the chip's own, or one for flags.
_ALLOCATION = re.compile(
    r"^allocation \d+: size (?P<size>\d+),(?P<color> color \d+,)?(?P<kind>.*)$"
)


def flags(folder: str, given: str = "") -> str:
    """Returns the value of `VARIABLE` that lets XLA write its plan into a folder.

    Args:
        folder: The folder.
        given: The value so far.
    """
    return f"{given} --xla_dump_to={folder} --xla_dump_hlo_as_text".strip()


def find(folder: str, ended: bool = False) -> dict[str, int] | None:
    """Returns the bytes by kind of the program whose plan is in a folder; None without a plan.

    Args:
        folder: Where XLA writes.
        ended: Whether it writes no more.
    """
    plans = glob.glob(os.path.join(glob.escape(folder), _PLAN))
    if not plans or not (ended or glob.glob(os.path.join(glob.escape(folder), _NEXT))):
        return None
    with open(plans[0], encoding="utf-8") as file:
        return parse(file.read())


def parse(text: str) -> dict[str, int] | None:
    """Returns bytes by kind from a plan: arguments, outputs, aliased, temporaries, and code (0).

    Args:
        text: XLA's own words; None is returned where they are not as expected.
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
