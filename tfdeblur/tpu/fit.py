"""Memory as a linear function of the batch size, and lower bounds of a step's duration."""

import dataclasses
from collections.abc import Mapping

from tfdeblur.tpu.chips import Chip


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Result of compiling a step at one batch size.

    Attributes:
        batch: Batch size of one replica.
        fits: Whether it fits in memory.
        needed: Peak memory in bytes.
        memory: Bytes by kind: arguments, outputs, aliased, temporaries, code; empty if it does not
            fit.
        flops: Floating-point operations of one step.
        bytes_accessed: Bytes that its operations read and write, in any memory; None if unknown.
        seconds: Duration of the compilation.
    """

    batch: int
    fits: bool
    needed: int
    memory: Mapping[str, int]
    flops: float
    bytes_accessed: float | None
    seconds: float


def needed_bytes(memory: Mapping[str, int]) -> int:
    """Returns the peak memory of a program; an output aliased to an argument counts once."""
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
        fixed: Bytes independent of the batch size: weights, moments, program.
        each: Bytes per image.
    """

    fixed: float
    each: float

    def at(self, batch: int) -> float:
        """Returns the bytes at a batch size."""
        return self.fixed + self.each * batch

    def largest(self, usable: int, multiple: int = 1) -> int:
        """Returns the largest multiple of `multiple` whose batch fits in `usable` bytes, or 0."""
        if self.each <= 0:
            raise ValueError("Memory does not grow with the batch size.")
        return max(0, int((usable - self.fixed) / self.each) // multiple * multiple)


def through(first: Compiled, second: Compiled) -> Line:
    """Returns the line through two batch sizes.

    Raises:
        ValueError: Both have the same batch size.
    """
    if first.batch == second.batch:
        raise ValueError("A line requires two batch sizes.")
    each = (second.needed - first.needed) / (second.batch - first.batch)
    return Line(first.needed - each * first.batch, each)


def min_seconds(compiled: Compiled, chip: Chip) -> float:
    """Returns a lower bound of a step's duration on a chip.

    A step computes at most at the published peak, and reads its arguments and writes its outputs
    at most at the published bandwidth. Temporaries are ignored, because they may stay on the chip.
    """
    moved = compiled.memory["arguments"] + compiled.memory["outputs"]
    return max(compiled.flops / chip.peak, moved / chip.bandwidth)


def flow_seconds(compiled: Compiled, chip: Chip) -> float | None:
    """Returns `min_seconds` if all data that operations access were in memory, not on the chip."""
    if compiled.bytes_accessed is None:
        return None
    return max(compiled.flops / chip.peak, compiled.bytes_accessed / chip.bandwidth)
