"""What two batch sizes of a step say about all others, and about its speed."""

import dataclasses
from collections.abc import Mapping

from tfdeblur.tpu.chips import Chip


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A step of one batch size that was compiled, or that had no room.

    Attributes:
        batch: Images of one replica in one batch.
        fits: Whether the compiler found room for it.
        needed: Bytes that it needs at once.
        memory: Bytes by kind: arguments, outputs, aliased, temporaries, code; empty without room.
        flops: Floating-point operations of one step.
        bytes_accessed: Bytes that its operations read and write, from whatever memory; None where
            they were not counted.
        seconds: How long the compiler took.
    """

    batch: int
    fits: bool
    needed: int
    memory: Mapping[str, int]
    flops: float
    bytes_accessed: float | None
    seconds: float


def needed_bytes(memory: Mapping[str, int]) -> int:
    """Returns what a program needs at once; an output in the place of an argument counts once."""
    return (
        memory["arguments"]
        + memory["outputs"]
        - memory["aliased"]
        + memory["temporaries"]
        + memory["code"]
    )


@dataclasses.dataclass(frozen=True)
class Line:
    """Memory as a linear function of the batch size.

    Attributes:
        fixed: Bytes that do not depend on the batch: weights, moments, program.
        each: Bytes for each image.
    """

    fixed: float
    each: float

    def at(self, batch: int) -> float:
        """Returns the bytes of a batch size."""
        return self.fixed + self.each * batch

    def largest(self, room: int, multiple: int = 1) -> int:
        """Returns the largest batch size that fits, a multiple of `multiple`; 0 if none does."""
        if self.each <= 0:
            raise ValueError("Memory does not grow with the batch: the line says nothing.")
        return max(0, int((room - self.fixed) / self.each) // multiple * multiple)


def through(first: Compiled, second: Compiled) -> Line:
    """Returns the line through two batch sizes.

    Raises:
        ValueError: They are of one batch size.
    """
    if first.batch == second.batch:
        raise ValueError("A line needs two batch sizes.")
    each = (second.needed - first.needed) / (second.batch - first.batch)
    return Line(first.needed - each * first.batch, each)


def least_seconds(compiled: Compiled, chip: Chip) -> float:
    """Returns a time that no step can beat on a chip.

    A step makes its operations at no more than the published peak, and reads its arguments from
    the chip's memory and writes its outputs there at no more than the published bandwidth.
    Temporaries may stay inside the chip, so they are left out.
    """
    moved = compiled.memory["arguments"] + compiled.memory["outputs"]
    return max(compiled.flops / chip.peak, moved / chip.bandwidth)


def flow_seconds(compiled: Compiled, chip: Chip) -> float | None:
    """Returns the same with all that operations read and write, as though nothing stayed inside."""
    if compiled.bytes_accessed is None:
        return None
    return max(compiled.flops / chip.peak, compiled.bytes_accessed / chip.bandwidth)
