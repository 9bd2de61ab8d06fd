"""Published figures of the TPU generations, and their slices."""

import dataclasses
import math
import re
from collections.abc import Mapping

from tfdeblur.errors import ConfigError

MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device of a TPU generation, as JAX sees it: a chip, or a core of v2 and v3.

    Attributes:
        name: Name of the generation.
        peak: Peak FLOP/s in bfloat16.
        bandwidth: Bytes per second between memory (HBM) and chip.
        links: Bytes per second that all links to other chips (ICI) can send together.
        usable: Bytes of the memory that the compiler gives to a program.
        shapes: Topologies of Google's slices by the number of chips.
        counts_cores: Whether names of slices, such as ``v5p-8``, count cores, of which a chip has
            two, instead of chips.
        devices_per_chip: 2 if each core is a device.
        config: Name of libtpu's configuration, if it is not the default one.
    """

    name: str
    peak: float
    bandwidth: float
    links: float
    usable: int
    shapes: Mapping[int, str]
    counts_cores: bool = False
    devices_per_chip: int = 1
    config: str = ""


def _gib(size: float) -> int:
    return round(size * GIB)


_FLAT = {
    1: "1x1",
    **{4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"},
}
_OLD = {4: "2x2", 16: "4x4", 64: "8x8", 256: "16x16"}
_CUBES = {
    **{4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"},
    **{128: "4x4x8", 256: "4x8x8", 512: "8x8x8"},
}

# Google's Cloud TPU documentation, "System architecture", the page of each generation, read in
# November 2026. The pages of v5e, v5p and v6e give the links of a chip in both directions together:
# 400, 1200 and 800 GB/s. v4 has six links of 50 GB/s (Jouppi et al., "TPU v4: An Optically
# Reconfigurable Supercomputer", 2023), v2 and v3 have four of 496 and 656 Gbit/s (Jouppi et al.,
# "A Domain-Specific Supercomputer for Training Deep Neural Networks", 2020). If each of two cores
# is a device, a device has half of everything. The usable memory is in the out-of-memory message of
# libtpu 0.0.52.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", 46e12 / 2, 700e9 / 2, 248e9 / 2, _gib(7.48), _OLD, True, 2),
        Chip("v3", 123e12 / 2, 900e9 / 2, 328e9 / 2, _gib(15.48), _OLD, True, 2),
        Chip("v4", 275e12, 1200e9, 300e9, _gib(30.75), _CUBES, True, config="megacore"),
        Chip("v5e", 197e12, 819e9, 200e9, _gib(15.75), _FLAT),
        Chip("v5p", 459e12, 2765e9, 600e9, _gib(95.73), _CUBES, True),
        Chip("v6e", 918e12, 1638e9, 400e9, _gib(31.24), _FLAT),
    )
}

_NAME = re.compile(r"(v\d\w*)-(\d+)")
_TOPOLOGY = re.compile(r"(v\d\w*):(\d+(?:x\d+)+)")
_GCLOUD_NAMES = {"v5litepod": "v5e", "v5lite": "v5e"}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of a pod.

    Attributes:
        name: Its name, such as ``v5e-8``.
        chip: Its devices.
        topology: Its topology, such as ``v5e:2x4``.
        devices: Number of devices.
    """

    name: str
    chip: Chip
    topology: str
    devices: int


def parse(text: str) -> Slice:
    """Returns a slice from Google's name, such as ``v5e-8`` and ``v4-8``, or its topology.

    Raises:
        ConfigError: There is no such slice.
    """
    found = _NAME.fullmatch(text) or _TOPOLOGY.fullmatch(text)
    chip = CHIPS.get(_GCLOUD_NAMES.get(found[1], found[1])) if found else None
    if found is None or chip is None:
        raise ConfigError(
            f"--tpu {text}: not a slice. Give a name such as v5e-8, or a topology such as "
            f"v5e:2x4, of {', '.join(CHIPS)}."
        )
    per_chip = 2 if chip.counts_cores else 1
    if ":" in text:
        sides = found[2]
        chips = math.prod(map(int, sides.split("x")))
    else:
        chips, rest = divmod(int(found[2]), per_chip)
        if rest or chips not in chip.shapes:
            names = ", ".join(f"{chip.name}-{per_chip * number}" for number in chip.shapes)
            raise ConfigError(f"--tpu {text}: no such slice. {chip.name} has {names}.")
        sides = chip.shapes[chips]
    name = f"{chip.name}-{per_chip * chips}"
    if chip.shapes.get(chips) != sides:
        name = text
    return Slice(name, chip, f"{chip.name}:{sides}", chips * chip.devices_per_chip)
