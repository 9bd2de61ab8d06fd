"""DeblurGAN-v2's generator on MobileNetV2, with the names of its authors' code.

PyTorch's MobileNetV2 pads convolutions of stride 2 on all sides and adds 1e-5 to variances, where
Keras's pads at the bottom and right and adds 1e-3: the option `backbone` is `pytorch`. Each array
of the backbone has two names in a file; its last blocks, which the network does not use, have one.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.architectures import feature_pyramid
from tfdeblur.porting.mapping import Arrays, Layout, Place, convolution, depthwise, norm

REPOSITORY = feature_pyramid.REPOSITORY
MARKS = ("fpn.enc0.1.conv.0.weight", *feature_pyramid.MARKS)
CHOICES: tuple[str, ...] = ()

# Blocks of MobileNetV2 in each part of the encoder.
_BLOCKS = (1, 2, 3, 4, 5)


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: width and norm."""
    return {**feature_pyramid.options(arrays), "backbone": "pytorch"}


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `fpn_mobilenet`."""
    batch = options["norm"] == "batch"
    places = convolution("fpn.enc0.0.0", "Conv1", bias=False)
    places += norm("fpn.enc0.0.1", "bn_Conv1", moving=batch)
    index = 0
    for part, count in enumerate(_BLOCKS):
        for block in range(count):
            # The stem comes first in the first part.
            theirs = f"fpn.enc{part}.{block if part else 1}.conv"
            places += _block(theirs, f"block_{index}" if index else "expanded_conv", batch)
            index += 1
    return feature_pyramid.layout(places, batch=batch, unused=r"fpn\.features\..*")


def _block(theirs: str, ours: str, batch: bool) -> list[Place]:
    places: list[Place] = []
    first = 0
    if ours != "expanded_conv":  # the first block of MobileNetV2 does not expand
        places += convolution(f"{theirs}.0", f"{ours}_expand", bias=False)
        places += norm(f"{theirs}.1", f"{ours}_expand_BN", moving=batch)
        first = 3
    places += depthwise(f"{theirs}.{first}", f"{ours}_depthwise", bias=False)
    places += norm(f"{theirs}.{first + 1}", f"{ours}_depthwise_BN", moving=batch)
    places += convolution(f"{theirs}.{first + 3}", f"{ours}_project", bias=False)
    return places + norm(f"{theirs}.{first + 4}", f"{ours}_project_BN", moving=batch)
