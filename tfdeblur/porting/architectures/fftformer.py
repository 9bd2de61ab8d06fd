"""FFTformer, with the names of its authors' code.

That code builds a convolution between the scales of the decoder that it never calls; its array is
omitted. The factors of the frequencies have five axes there.
"""

from collections.abc import Mapping
from typing import Any

from tfdeblur.porting.mapping import (
    Arrays,
    Layout,
    Permutation,
    Place,
    channels,
    convolution,
    count,
    depthwise,
    norm,
)

REPOSITORY = "https://github.com/kkkls/FFTformer"
MARKS = ("patch_embed.proj.weight", "fuse1.conv.weight", "output.weight")
CHOICES: tuple[str, ...] = ()
LOADER, LOADER_SCALES = "spandrel", 3

# [channels, 1, 1, 8, 5] to [40, channels].
_FREQUENCIES = Permutation(lambda a: a.reshape(len(a), -1).T, lambda s: (s[1], 1, 1, 8, s[0] // 8))


def options(arrays: Arrays) -> dict[str, Any]:
    """Returns the options that follow from the weights: width, blocks of each scale, refinement."""
    scales = count(arrays, r"encoder_level(\d+)\.", 1)
    return {
        "width": channels(arrays, "patch_embed.proj.weight"),
        "blocks": tuple(
            count(arrays, rf"encoder_level{scale}\.(\d+)\.") for scale in range(1, scales + 1)
        ),
        "refinement": count(arrays, r"refinement\.(\d+)\."),
    }


def layout(options: Mapping[str, Any]) -> Layout:
    """Returns the place of each array, given all options of `fftformer`."""
    places = convolution("patch_embed.proj", "stem", bias=False)
    places += convolution("output", "correction", bias=False)
    for level, blocks in enumerate(options["blocks"]):
        # That code numbers the scales from 1.
        scale = level + 1
        for index in range(blocks):
            places += _feed_forward(
                f"encoder_level{scale}.{index}", f"encoder{level}_block{index + 1}"
            )
            places += _block(f"decoder_level{scale}.{index}", f"decoder{level}_block{index + 1}")
        if level:
            places += convolution(f"down{level}_{scale}.body.1", f"down{level}", bias=False)
            places += convolution(f"up{scale}_{level}.body.1", f"up{level - 1}", bias=False)
            fusion = f"fusion{level - 1}"
            places += convolution(f"fuse{level}.conv", f"{fusion}_conv1")
            places += convolution(f"fuse{level}.conv2", f"{fusion}_conv2")
            places += _feed_forward(f"fuse{level}.att_channel", f"{fusion}_block1")
    for index in range(options["refinement"]):
        places += _block(f"refinement.{index}", f"refinement_block{index + 1}")
    # It has one between every two scales but the finest.
    width, scales = options["width"], len(options["blocks"])
    never_called = {
        f"reduce_chan_level{scale}.weight": (width << scale - 1, width << scale, 1, 1)
        for scale in range(2, scales)
    }
    unused = {r"reduce_chan_level\d+\.weight": "convolutions that are never called"}
    return Layout(places, unused, never_called)


def _feed_forward(theirs: str, ours: str) -> list[Place]:
    return [
        *norm(f"{theirs}.norm2.body", f"{ours}_norm2"),
        *convolution(f"{theirs}.ffn.project_in", f"{ours}_expand", bias=False),
        Place(f"{theirs}.ffn.fft", f"{ours}_frequencies/scale", _FREQUENCIES),
        *depthwise(f"{theirs}.ffn.dwconv", f"{ours}_filter", bias=False),
        *convolution(f"{theirs}.ffn.project_out", f"{ours}_reduce", bias=False),
    ]


def _block(theirs: str, ours: str) -> list[Place]:
    return [
        *norm(f"{theirs}.norm1.body", f"{ours}_norm1"),
        *convolution(f"{theirs}.attn.to_hidden", f"{ours}_hidden", bias=False),
        *depthwise(f"{theirs}.attn.to_hidden_dw", f"{ours}_hidden_filter", bias=False),
        *norm(f"{theirs}.attn.norm.body", f"{ours}_product_norm"),
        *convolution(f"{theirs}.attn.project_out", f"{ours}_attention", bias=False),
        *_feed_forward(theirs, ours),
    ]
