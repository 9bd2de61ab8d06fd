"""How blurred the input of an image pair is."""

from typing import Any

from keras import ops

from tfdeblur.ops import imaging


def lost_gradient(sharp: Any, blurred: Any) -> Any:
    """Returns the share of the target's gradient that the input has lost.

    Args:
        sharp: Target images [B, H, W, 3] in [0, 1].
        blurred: Input images of the same shape and range.

    Returns:
        float32 [B]: 1 minus the ratio of the mean absolute differences of neighboring pixels'
        luma. 0 for an input as sharp as the target, 1 for a flat one; noise makes it negative.
    """

    def strength(images: Any) -> Any:
        luma = imaging.luma(images)
        down, right = luma[:, 1:] - luma[:, :-1], luma[:, :, 1:] - luma[:, :, :-1]
        axes = (1, 2, 3)
        return ops.mean(ops.abs(down), axis=axes) + ops.mean(ops.abs(right), axis=axes)

    return 1.0 - ops.divide_no_nan(strength(blurred), strength(sharp))
