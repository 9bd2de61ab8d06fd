"""DeepDeblur, with the names of its authors' PyTorch code.

That code works on images in [0, 255], `tfdeblur` in [0, 1]. All layers are linear or ReLU, so the
networks are equal if every bias is divided by 255. Weights trained there with another `rgb_range`
are not supported. The channels before a pixel shuffle are reordered, in the bias too.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import (
    Arrays,
    Layout,
    Permutation,
    Place,
    before_shuffle,
    channels,
    convolution,
    count,
)

REPOSITORY = "https://github.com/SeungjunNah/DeepDeblur-PyTorch"
MARKS = ("body_models.0.body.0.weight", "body_models.0.body.1.body.0.weight")
CHOICES: tuple[str, ...] = ()

_BIAS = Permutation(lambda a: a / 255, lambda s: s)
# [4 channels], channel 4 c + k, to k C + c.
_SHUFFLED_BIAS = Permutation(lambda a: a.reshape(-1, 4).T.reshape(-1) / 255, lambda s: s)


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: scales, blocks and width."""
    # The stem, the blocks and the last convolution are one numbered sequence.
    parts = count(arrays, r"body_models\.0\.body\.(\d+)\.")
    return {
        "scales": count(arrays, r"body_models\.(\d+)\."),
        "blocks": parts - 2,
        "width": channels(arrays, "body_models.0.body.0.weight"),
    }


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `deepdeblur`."""
    places: list[Place] = []
    for scale in range(options["scales"]):
        body = f"body_models.{scale}.body"
        places += _convolution(f"{body}.0", f"scale{scale}_stem")
        for index in range(1, options["blocks"] + 1):
            for step, part in ((1, 0), (2, 2)):
                name = f"scale{scale}_block{index}_conv{step}"
                places += _convolution(f"{body}.{index}.body.{part}", name)
        places += _convolution(f"{body}.{options['blocks'] + 1}", f"scale{scale}_last")
        if scale:
            theirs, ours = f"conv_end_models.{scale}.uppath.0", f"scale{scale - 1}_up"
            places += before_shuffle(theirs, ours)
            places.append(Place(f"{theirs}.bias", f"{ours}/bias", _SHUFFLED_BIAS))
    return Layout(places)


def _convolution(theirs: str, ours: str) -> list[Place]:
    return [
        *convolution(theirs, ours, bias=False),
        Place(f"{theirs}.bias", f"{ours}/bias", _BIAS),
    ]
