"""Restormer for deblurring, with the names of its authors' code.

The channels before a pixel shuffle are reordered. The authors' networks for denoising, whose layer
norms have no offset, and for dual-pixel images are not supported.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import (
    Arrays,
    Layout,
    Permutation,
    Place,
    array,
    before_shuffle,
    channels,
    convolution,
    count,
    depthwise,
    norm,
)

REPOSITORY = "https://github.com/swz30/Restormer"
MARKS = ("patch_embed.proj.weight", "encoder_level1.0.attn.temperature", "output.weight")
CHOICES: tuple[str, ...] = ()
LOADER, LOADER_SCALES = "spandrel-extra-arches", 4

# [heads, 1, 1] to [heads].
_PER_HEAD = Permutation(lambda a: a.reshape(-1), lambda s: (*s, 1, 1))


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: width, blocks, heads and refinement."""
    scales = count(arrays, r"encoder_level(\d+)\.", 1)
    stages = [*(f"encoder_level{scale}" for scale in range(1, scales + 1)), "latent"]
    return {
        "width": channels(arrays, "patch_embed.proj.weight"),
        "blocks": tuple(count(arrays, rf"{stage}\.(\d+)\.") for stage in stages),
        "heads": tuple(array(arrays, f"{stage}.0.attn.temperature").size for stage in stages),
        "refinement": count(arrays, r"refinement\.(\d+)\."),
    }


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `restormer`."""
    places = convolution("patch_embed.proj", "stem", bias=False)
    places += convolution("output", "correction", bias=False)
    deepest = len(options["blocks"]) - 1
    for level, blocks in enumerate(options["blocks"]):
        # That code numbers the scales from 1 and names the last one.
        scale = level + 1
        encoder = "latent" if level == deepest else f"encoder_level{scale}"
        for index in range(blocks):
            places += _block(f"{encoder}.{index}", f"encoder{level}_block{index + 1}")
            if level < deepest:
                decoder = f"decoder{level}_block{index + 1}"
                places += _block(f"decoder_level{scale}.{index}", decoder)
        if level:
            places += convolution(f"down{level}_{scale}.body.0", f"down{level}", bias=False)
            places += before_shuffle(f"up{scale}_{level}.body.0", f"up{level - 1}")
        if 0 < level < deepest:
            places += convolution(f"reduce_chan_level{scale}", f"join{level}", bias=False)
    for index in range(options["refinement"]):
        places += _block(f"refinement.{index}", f"refinement_block{index + 1}")
    return Layout(places)


def _block(theirs: str, ours: str) -> list[Place]:
    return [
        *norm(f"{theirs}.norm1.body", f"{ours}_norm1"),
        Place(f"{theirs}.attn.temperature", f"{ours}_attention/temperature", _PER_HEAD),
        *convolution(f"{theirs}.attn.qkv", f"{ours}_qkv", bias=False),
        *depthwise(f"{theirs}.attn.qkv_dwconv", f"{ours}_qkv_filter", bias=False),
        *convolution(f"{theirs}.attn.project_out", f"{ours}_project", bias=False),
        *norm(f"{theirs}.norm2.body", f"{ours}_norm2"),
        *convolution(f"{theirs}.ffn.project_in", f"{ours}_expand", bias=False),
        *depthwise(f"{theirs}.ffn.dwconv", f"{ours}_filter", bias=False),
        *convolution(f"{theirs}.ffn.project_out", f"{ours}_reduce", bias=False),
    ]
