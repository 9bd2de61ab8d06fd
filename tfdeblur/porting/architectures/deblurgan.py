"""DeblurGAN's generator of residual blocks, with the names of its authors' code.

Its layers are one numbered sequence, including those without weights: padding, convolution, norm,
ReLU from 0; two strided convolutions at 4 and 7; the blocks from 10; then two transposed
convolutions and the last one. In a block the second convolution is number 5, or 6 with dropout
between both. The authors' present code builds blocks with one convolution, which end with ReLU if
the network was trained with dropout, its default; that does not follow from the weights.

The authors' code tests the network in training mode: dropout is active, and batch norm uses the
statistics of the single image. `tfdeblur` disables dropout and uses the moving averages; with
instance norm, as in the published weights, dropout is the only difference.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import Arrays, Layout, Place, channels, convolution, count, norm

REPOSITORY = "https://github.com/KupynOrest/DeblurGAN"
MARKS = ("model.1.weight", "model.4.weight", "model.10.conv_block.1.weight")
CHOICES = ("residual", "dropout")

_FIRST_BLOCK = 10
_EPSILON = 1e-5  # of PyTorch's batch norm


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights.

    They are the width, the blocks, their convolutions, the norm, and, with two convolutions, the
    dropout.
    """
    second = _second_convolution(arrays)
    return {
        "width": channels(arrays, "model.1.weight"),
        "blocks": count(arrays, r"model\.(\d+)\.conv_block\.", _FIRST_BLOCK),
        **({"dropout": 0.5 if second == 6 else 0.0} if second else {"convolutions": 1}),
        # Instance norm has no weights there.
        **({"norm": "batch", "epsilon": _EPSILON} if "model.2.weight" in arrays else {}),
        **({"norm": "instance"} if "model.2.weight" not in arrays else {}),
    }


def _second_convolution(arrays: Arrays) -> int | None:
    """Returns the number of the second convolution of a block, or None if there is one only."""
    block = f"model.{_FIRST_BLOCK}.conv_block"
    for place in (5, 6):
        values = arrays.get(f"{block}.{place}.weight")
        if values is not None and values.ndim == 4:
            return place
    return None


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `deblurgan`."""
    biased = options["norm"] == "instance"

    def unit(theirs: str, number: int, ours: str) -> list[Place]:
        """Returns the places of a convolution and the norm after it."""
        places = convolution(f"{theirs}.{number}", f"{ours}_conv", bias=biased)
        if biased:
            return places
        return places + norm(f"{theirs}.{number + 1}", f"{ours}_norm", moving=True)

    places = unit("model", 1, "stem") + unit("model", 4, "down1") + unit("model", 7, "down2")
    for index in range(options["blocks"]):
        block = f"model.{_FIRST_BLOCK + index}.conv_block"
        places += unit(block, 1, f"block{index + 1}_1")
        if options["convolutions"] == 2:
            places += unit(block, 6 if options["dropout"] else 5, f"block{index + 1}_2")
    after = _FIRST_BLOCK + options["blocks"]
    places += unit("model", after, "up1") + unit("model", after + 3, "up0")
    places += convolution(f"model.{after + 7}", "correction")
    counters = {r".*\.num_batches_tracked": "counters of batches"}
    averages = {
        r".*\.running_(mean|var)": "moving averages of instance norm, which normalizes each image "
        "separately"
    }
    return Layout(places, counters | averages if biased else counters)
