"""What is published about TPU generations."""

import dataclasses
from typing import Literal, get_args

ChipName = Literal["v2", "v3", "v4", "v5e", "v5p", "v6e"]

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device of a TPU generation, as TensorFlow counts replicas: one chip, or one core of it.

    Attributes:
        name: Name of the generation.
        topology: A slice of it that the compiler knows, for which one replica is compiled.
        peak: Multiplications and additions a second in bfloat16.
        bandwidth: Bytes a second between its memory and the chip.
        usable: Bytes of its memory (HBM) that the compiler gives to a program.
        unit: What one device is.
    """

    name: str
    topology: str
    peak: float
    bandwidth: float
    usable: int
    unit: Literal["chip", "core"] = "chip"


def _gib(size: float) -> int:
    return round(size * GIB)


# Peak and bandwidth: Google's Cloud TPU documentation, "System architecture", the page of
# each generation, read in November 2026. Its figures are of whole chips; where the compiler shows
# each of two cores as a device, a device has half of them. What is usable stands in the message of
# libtpu 0.0.52 for a program that has no room.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", "v2:2x2", 46e12 / 2, 700e9 / 2, _gib(7.48), "core"),
        Chip("v3", "v3:2x2", 123e12 / 2, 900e9 / 2, _gib(15.48), "core"),
        Chip("v4", "v4:2x2x1", 275e12 / 2, 1200e9 / 2, _gib(15.25), "core"),
        Chip("v5e", "v5e:2x2", 197e12, 819e9, _gib(15.75)),
        Chip("v5p", "v5p:2x2x1", 459e12, 2765e9, _gib(95.73)),
        Chip("v6e", "v6e:2x2", 918e12, 1638e9, _gib(31.24)),
    )
}
assert tuple(CHIPS) == get_args(ChipName)
