"""DeblurGAN-v2's generator on Inception-ResNet-v2, with the names of its authors' code.

Each array of the backbone has two names in a file; its last blocks, which the network does not use,
have one.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting import mapping
from tfdeblur.porting.architectures import feature_pyramid
from tfdeblur.porting.mapping import Arrays, Layout, Place, channels, convolution, norm

REPOSITORY = feature_pyramid.REPOSITORY
MARKS = ("fpn.enc0.conv.weight", *feature_pyramid.MARKS)
CHOICES: tuple[str, ...] = ()

# Convolutions in each branch.
_MIXED_5B = _BLOCK_35 = (1, 2, 3)
_MIXED_6A = _BLOCK_17 = (1, 3)
_MIXED_7A = (2, 2, 3)


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: width, norm and the backbone's size."""
    return {
        **feature_pyramid.options(arrays),
        "backbone_width": channels(arrays, "fpn.enc0.conv.weight"),
        "backbone_blocks": (
            mapping.count(arrays, r"fpn\.enc3\.1\.(\d+)\."),
            mapping.count(arrays, r"fpn\.enc4\.0\.(\d+)\."),
        ),
    }


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `fpn_inception`."""
    batch = options["norm"] == "batch"
    large, small = options["backbone_blocks"]

    def unit(theirs: str, ours: str) -> list[Place]:
        convolved = convolution(f"{theirs}.conv", ours, bias=False)
        return convolved + norm(f"{theirs}.bn", f"{ours}_norm", moving=batch)

    def branches(theirs: str, ours: str, counts: tuple[int, ...]) -> list[Place]:
        places: list[Place] = []
        for branch, count in enumerate(counts):
            for step in range(count):
                # That code numbers the convolutions of a branch if there are several.
                number = f".{step}" if count > 1 else ""
                places += unit(
                    f"{theirs}.branch{branch}{number}", f"{ours}_branch{branch}_conv{step}"
                )
        return places

    def residual(theirs: str, ours: str, counts: tuple[int, ...]) -> list[Place]:
        places = branches(theirs, ours, counts)
        return places + convolution(f"{theirs}.conv2d", f"{ours}_conv")

    stem = {"enc0": "1a", "enc1.0": "2a", "enc1.1": "2b", "enc2.0": "3b", "enc2.1": "4a"}
    places = [
        place for theirs, ours in stem.items() for place in unit(f"fpn.{theirs}", f"conv2d_{ours}")
    ]
    places += branches("fpn.enc3.0", "mixed_5b", _MIXED_5B)
    places += unit("fpn.enc3.0.branch3.1", "mixed_5b_branch3")  # after the mean
    for block in range(large):
        places += residual(f"fpn.enc3.1.{block}", f"block35_{block + 1}", _BLOCK_35)
    places += branches("fpn.enc3.2", "mixed_6a", _MIXED_6A)
    for block in range(small):
        places += residual(f"fpn.enc4.0.{block}", f"block17_{block + 1}", _BLOCK_17)
    places += branches("fpn.enc4.1", "mixed_7a", _MIXED_7A)
    return feature_pyramid.layout(places, batch=batch, unused=r"fpn\.inception\..*")
