"""MIMO-UNet and MIMO-UNet+, with the names of their authors' code.

Both have the same names and differ in the number of residual blocks. Only the axes of the arrays
are permuted: `tfdeblur.models.mimo_unet` pads, downsamples and upsamples as that code does.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import Arrays, Layout, Place, channels, convolution, count

REPOSITORY = "https://github.com/chosj95/MIMO-UNet"
MARKS = ("feat_extract.0.main.0.weight", "Encoder.0.layers.0.main.0.main.0.weight")
CHOICES: tuple[str, ...] = ()

_PLUS_BLOCKS = 20


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: width and blocks; `plus` has 20 blocks."""
    width = channels(arrays, "feat_extract.0.main.0.weight")
    blocks = count(arrays, r"Encoder\.0\.layers\.(\d+)\.")
    return {"width": width, **({"plus": True} if blocks == _PLUS_BLOCKS else {"blocks": blocks})}


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `mimo_unet`."""
    blocks = _PLUS_BLOCKS if options["plus"] else options["blocks"]
    stages = [
        *((f"Encoder.{level}", f"encoder{level}") for level in range(3)),
        # That code numbers the stages of the decoder from the smallest scale.
        *((f"Decoder.{2 - level}", f"decoder{level}") for level in range(3)),
    ]
    pairs = {
        "feat_extract.0": "stem",
        "feat_extract.1": "down1",
        "feat_extract.2": "down2",
        "feat_extract.3": "up1",
        "feat_extract.4": "up0",
        "feat_extract.5": "correction0",
        "ConvsOut.0": "correction2",
        "ConvsOut.1": "correction1",
        "Convs.0": "join1",
        "Convs.1": "join0",
        "FAM1.merge": "attention2",
        "FAM2.merge": "attention1",
    }
    for theirs, ours in stages:
        for block in range(blocks):
            for step in range(2):
                theirs_step = f"{theirs}.layers.{block}.main.{step}"
                pairs[theirs_step] = f"{ours}_block{block + 1}_{step + 1}"
    for level in range(2):
        for step in range(2):
            pairs[f"AFFs.{level}.conv.{step}"] = f"fusion{level}_{step + 1}"
    for theirs, level in (("SCM1", 2), ("SCM2", 1)):
        pairs[f"{theirs}.conv"] = f"shallow{level}_5"
        pairs |= {f"{theirs}.main.{step}": f"shallow{level}_{step + 1}" for step in range(4)}
    places: list[Place] = []
    for theirs, ours in pairs.items():
        places += convolution(f"{theirs}.main.0", f"{ours}_conv")
    return Layout(places)
