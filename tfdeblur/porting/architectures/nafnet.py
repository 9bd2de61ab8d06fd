"""NAFNet, with the names of its authors' code.

The channels before a pixel shuffle are reordered. For sizes that are not multiples of the network's
that code pads with zeros; `tfdeblur` pads by reflection.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import (
    Arrays,
    Layout,
    Place,
    before_shuffle,
    channels,
    convolution,
    count,
    depthwise,
    factor,
    norm,
)

REPOSITORY = "https://github.com/megvii-research/NAFNet"
MARKS = ("intro.weight", "ending.weight", "downs.0.weight", "ups.0.0.weight")
CHOICES = ("pool_window",)
LOADER, LOADER_SCALES = "spandrel", None


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: the width and the blocks of each scale."""
    sizes = count(arrays, r"downs\.(\d+)\.")
    return {
        "width": channels(arrays, "intro.weight"),
        "encoder": tuple(count(arrays, rf"encoders\.{i}\.(\d+)\.") for i in range(sizes)),
        "middle": count(arrays, r"middle_blks\.(\d+)\."),
        "decoder": tuple(count(arrays, rf"decoders\.{i}\.(\d+)\.") for i in range(sizes)),
    }


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `nafnet`."""
    sizes = len(options["encoder"])
    places = [*convolution("intro", "intro"), *convolution("ending", "ending")]
    places += _blocks("middle_blks", "middle", options["middle"])
    for level, blocks in enumerate(options["encoder"]):
        places += convolution(f"downs.{level}", f"down{level}")
        places += _blocks(f"encoders.{level}", f"encoder{level}", blocks)
    # That code numbers the stages of the decoder from the smallest scale.
    for place, blocks in enumerate(options["decoder"]):
        level = sizes - 1 - place
        places += before_shuffle(f"ups.{place}.0", f"up{level}")
        places += _blocks(f"decoders.{place}", f"decoder{level}", blocks)
    return Layout(places)


def _blocks(theirs: str, ours: str, blocks: int) -> list[Place]:
    places: list[Place] = []
    for index in range(blocks):
        name, block = f"{theirs}.{index}", f"{ours}_block{index + 1}"
        for step in (1, 3, 4, 5):
            places += convolution(f"{name}.conv{step}", f"{block}_conv{step}")
        places += depthwise(f"{name}.conv2", f"{block}_conv2")
        places += convolution(f"{name}.sca.1", f"{block}_attention")
        for step in (1, 2):
            places += norm(f"{name}.norm{step}", f"{block}_norm{step}")
        for part in ("beta", "gamma"):
            places += factor(f"{name}.{part}", f"{block}_{part}")
    return places
