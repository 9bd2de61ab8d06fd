"""Value ranges and sizes of image batches, in `keras.ops` alone.

Images are uint8 until they are on the device and float32 in `unit` [0, 1] at every public
boundary. A network may work in `signed` [-1, 1] inside; the conversion happens once at each edge.
"""

from typing import Any, Literal, get_args

import numpy as np
from keras import ops

ValueRange = Literal["unit", "signed"]


def data_range(value_range: ValueRange) -> float:
    """Returns the distance between black and white: 1 for `unit`, 2 for `signed`.

    Raises:
        ValueError: `value_range` is neither of the two.
    """
    if value_range not in get_args(ValueRange):
        raise ValueError(
            f"A value range is one of {get_args(ValueRange)}. Received: {value_range!r}."
        )
    return 1.0 if value_range == "unit" else 2.0


def to_range(unit: Any, value_range: ValueRange) -> Any:
    """Takes images from [0, 1] to the range a network works in.

    Args:
        unit: Floating-point tensor of any shape, black at 0 and white at 1.
        value_range: `unit` returns the tensor untouched; `signed` returns 2x - 1.

    Returns:
        A tensor of the same shape and dtype.
    """
    return unit if data_range(value_range) == 1.0 else unit * 2.0 - 1.0


def to_unit(images: Any, value_range: ValueRange) -> Any:
    """Takes images from the range a network works in to [0, 1], without clipping.

    Args:
        images: Floating-point tensor of any shape in `value_range`.
        value_range: Where the images are now.

    Returns:
        A tensor of the same shape and dtype; what overshot before still does.
    """
    return images if data_range(value_range) == 1.0 else (images + 1.0) * 0.5


def uint8_to_unit(images: Any) -> Any:
    """Takes uint8 images to float32 in [0, 1], exactly value / 255.

    Args:
        images: uint8 tensor of any shape.

    Returns:
        A float32 tensor of the same shape.
    """
    return ops.cast(images, "float32") / 255.0


def pad_to_multiple(images: Any, multiple: int) -> Any:
    """Mirrors the bottom and right border until height and width are multiples of `multiple`.

    Equal to `numpy.pad(mode="reflect")`, also where the padding is larger than the image (an image
    of one pixel is repeated), which padding operations of most frameworks refuse.

    Args:
        images: Tensor [B, H, W, C]. H and W may be unknown while a graph is traced.
        multiple: Positive number of pixels.

    Returns:
        A tensor [B, H', W', C] with the smallest such sizes. Where a size is known and fits
        already, nothing is done; where it is known, it stays known.

    Raises:
        ValueError: `multiple` is not positive, or the images do not have four dimensions.
    """
    if multiple < 1:
        raise ValueError(f"`multiple` must be at least 1. Received: {multiple}.")
    if len(images.shape) != 4:
        raise ValueError(f"Images must have shape [B, H, W, C]. Received: {images.shape}.")
    if multiple == 1:
        return images
    for axis in (1, 2):
        size = ops.shape(images)[axis]
        if isinstance(size, int):
            positions: Any = np.arange(size, padded_size(size, multiple), dtype="int32")
            if not positions.size:
                continue
            period: Any = max(2 * (size - 1), 1)
            positions = positions % period
            mirrored = np.minimum(positions, period - positions)
        else:
            positions = ops.arange(size, padded_size(size, multiple), dtype="int32")
            period = ops.maximum(2 * (size - 1), 1)
            positions = ops.mod(positions, period)
            mirrored = ops.minimum(positions, period - positions)
        images = ops.concatenate([images, ops.take(images, mirrored, axis=axis)], axis=axis)
    return images


def padded_size(size: Any, multiple: int) -> Any:
    """Returns the smallest multiple of `multiple` that is not below `size` (pixels)."""
    # Not by the floor of a negative quotient, which ONNX rounds toward zero.
    return (size + multiple - 1) // multiple * multiple


def crop_to(images: Any, height: Any, width: Any) -> Any:
    """Keeps the top left `height` by `width` pixels, undoing `pad_to_multiple`.

    Args:
        images: Tensor [B, H, W, C], at least as large.
        height: Rows to keep; a Python integer or a scalar tensor.
        width: Columns to keep; likewise.

    Returns:
        A tensor [B, height, width, C]; the same tensor where the known sizes fit already.
    """
    if tuple(images.shape[1:3]) == (height, width):
        return images
    return images[:, :height, :width, :]


def pyramid(images: Any, levels: int) -> list[Any]:
    """Halves images again and again by averages of 2x2 pixels, equal to bilinear resizing by 0.5.

    Args:
        images: Floating-point tensor [B, H, W, C] in any value range. H and W may be unknown
            while a graph is traced; a last odd row or column is then left out of the average.
        levels: How many sizes, the images' own included.

    Returns:
        `levels` float32 tensors, finest first: [B, H, W, C], [B, H/2, W/2, C] and so on. They are
        float32 whatever the images are, so that no level is rounded on the way to a loss.

    Raises:
        ValueError: `levels` is not positive, the images do not have four dimensions, or a known
            size is no multiple of 2^(levels - 1).
    """
    if levels < 1:
        raise ValueError(f"`levels` must be at least 1. Received: {levels}.")
    if len(images.shape) != 4:
        raise ValueError(f"Images must have shape [B, H, W, C]. Received: {images.shape}.")
    multiple = 2 ** (levels - 1)
    if any(size is not None and size % multiple for size in images.shape[1:3]):
        raise ValueError(
            f"A pyramid of {levels} levels needs a height and width that are multiples of "
            f"{multiple}. Received: {images.shape[1]}x{images.shape[2]}."
        )
    sizes = [ops.cast(images, "float32")]
    for _ in range(levels - 1):
        sizes.append(ops.average_pool(sizes[-1], 2, 2, data_format="channels_last"))
    return sizes
