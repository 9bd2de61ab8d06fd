"""Published figures of the TPU generations."""

import dataclasses
from typing import Literal, get_args

ChipName = Literal["v2", "v3", "v4", "v5e", "v5p", "v6e"]

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device of a TPU generation, on which TensorFlow runs one replica: a chip or a core.

    Attributes:
        name: Name of the generation.
        topology: A slice that the compiler supports; one replica is compiled for it.
        peak: Peak FLOP/s in bfloat16.
        bandwidth: Bytes per second between memory (HBM) and chip.
        usable: Bytes of the memory that the compiler gives to a program.
        unit: Whether the device is a chip or a core.
    """

    name: str
    topology: str
    peak: float
    bandwidth: float
    usable: int
    unit: Literal["chip", "core"] = "chip"


def _gib(size: float) -> int:
    return round(size * GIB)


# Peak and bandwidth: Google's Cloud TPU documentation, "System architecture", the page of each
# generation, read in November 2026. Its figures are per chip; if each of two cores is a device, a
# device has half of them. The usable memory is in the out-of-memory message of libtpu 0.0.52.
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
