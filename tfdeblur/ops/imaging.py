"""Value ranges and sizes of image batches, for all backends of Keras.

Images are uint8 until they are on the device, and float32 in ``unit`` [0, 1] at every public
boundary. A network may use ``signed`` [-1, 1] internally; images are converted once on each side.
"""

from typing import Any, Literal, get_args

import numpy as np
from keras import ops

from tfdeblur.ops.shapes import ImageBatch, Tensor

ValueRange = Literal["unit", "signed"]

_LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255
_BLACK = 16 / 255


def data_range(value_range: ValueRange) -> float:
    """Returns the width of a value range: 1 for ``unit``, 2 for ``signed``.

    Raises:
        ValueError: `value_range` is neither.
    """
    if value_range not in get_args(ValueRange):
        raise ValueError(
            f"`value_range` must be one of {get_args(ValueRange)}. Received: {value_range!r}."
        )
    return 1.0 if value_range == "unit" else 2.0


def to_range(unit: Tensor, value_range: ValueRange) -> Tensor:
    """Converts images from [0, 1] to the value range of a network.

    Args:
        unit: Floating-point tensor of any shape, black at 0 and white at 1.
        value_range: ``unit`` returns the tensor unchanged; ``signed`` returns 2x - 1.

    Returns:
        A tensor of the same shape and dtype.
    """
    return unit if data_range(value_range) == 1.0 else unit * 2.0 - 1.0


def to_unit(images: Tensor, value_range: ValueRange) -> Tensor:
    """Converts images from the value range of a network to [0, 1], without clipping.

    Args:
        images: Floating-point tensor of any shape in `value_range`.
        value_range: The value range of the images.

    Returns:
        A tensor of the same shape and dtype.
    """
    return images if data_range(value_range) == 1.0 else (images + 1.0) * 0.5


def uint8_to_unit(images: Tensor) -> Tensor:
    """Converts uint8 images to float32 in [0, 1], exactly value / 255.

    Args:
        images: uint8 tensor of any shape.

    Returns:
        A float32 tensor of the same shape.
    """
    return ops.cast(images, "float32") / 255.0


def to_uint8(images: Any) -> Any:
    """Rounds images to the 256 levels of a file, half to even.

    Args:
        images: Floating-point tensor of any shape in [0, 1]; values outside are clipped.

    Returns:
        A uint8 tensor of the same shape.
    """
    return ops.cast(ops.round(ops.clip(ops.cast(images, "float32"), 0.0, 1.0) * 255.0), "uint8")


def luma(images: Any) -> Any:
    """Returns Y of BT.601 in the range of video, not rounded.

    Args:
        images: RGB [B, H, W, 3] in [0, 1].

    Returns:
        float32 [B, H, W, 1], from 16/255 (black) to 235/255 (white).

    Reference:
        ITU-R BT.601, section 2.5; MATLAB's and scikit-image's `rgb2ycbcr` give the same Y.
    """
    weighted = ops.cast(images, "float32") * _LUMA
    return ops.sum(weighted, axis=-1, keepdims=True) + _BLACK


def pad_to_multiple(images: ImageBatch, multiple: int, least: int = 1) -> ImageBatch:
    """Pads the bottom and right by reflection to a multiple of `multiple`, at least `least`.

    Equivalent to `numpy.pad(mode="reflect")`, even if the padding is larger than the image
    (a single pixel is repeated), which the padding ops of most frameworks reject.

    Args:
        images: Tensor [B, H, W, C]. H and W may be unknown while a graph is traced.
        multiple: Positive number of pixels.
        least: Pixels that each side has at least.

    Returns:
        A tensor [B, H', W', C] with the smallest such sizes; the input itself if both are known and
        need no padding. Known sizes stay known.

    Raises:
        ValueError: `multiple` is not positive, or the images do not have four dimensions.
    """
    if multiple < 1:
        raise ValueError(f"`multiple` must be at least 1. Received: {multiple}.")
    if len(images.shape) != 4:
        raise ValueError(f"Images must have shape [B, H, W, C]. Received: {images.shape}.")
    if multiple == 1 and least <= 1:
        return images
    for axis in (1, 2):
        size = ops.shape(images)[axis]
        if not isinstance(size, int) or size != padded_size(size, multiple, least):
            places = reflected(size, padded_size(size, multiple, least), size)
            images = ops.concatenate([images, ops.take(images, places, axis=axis)], axis=axis)
    return images


def padded_size(size: Any, multiple: int, least: int = 1) -> Any:
    """Returns the smallest multiple of `multiple` that is at least `size` and `least` (pixels)."""
    if least > 1:
        size = max(size, least) if isinstance(size, int) else ops.maximum(size, least)
    # Not as the floor of a negative quotient, which ONNX rounds toward zero.
    return (size + multiple - 1) // multiple * multiple


def reflected(start: Any, stop: Any, size: Any) -> Any:
    """Returns the pixels that reflection puts at the positions `start` to `stop` of an axis.

    Args:
        start: First position; those below 0 and from `size` on are outside the image.
        stop: End of the positions.
        size: Pixels of the axis. Like both others an integer or a scalar tensor.

    Returns:
        int32 [stop - start], indices from 0 to `size` - 1.
    """
    known = isinstance(size, int)  # NumPy gives a constant
    backend: Any = np if known else ops
    period = max(2 * (size - 1), 1) if known else ops.maximum(2 * (size - 1), 1)
    # Reflection is symmetric, and ONNX defines remainders of negative numbers differently.
    distances = backend.mod(backend.abs(backend.arange(start, stop, dtype="int32")), period)
    return backend.minimum(distances, period - distances)


def pyramid(images: ImageBatch, levels: int) -> list[ImageBatch]:
    """Returns images at several scales, each by 2x2 averages (bilinear resizing by 0.5).

    Args:
        images: Floating-point tensor [B, H, W, C] in any value range. H and W may be unknown
            while a graph is traced; a last odd row or column is then omitted from the averages.
        levels: Number of scales, including the images themselves.

    Returns:
        `levels` float32 tensors, finest first: [B, H, W, C], [B, H/2, W/2, C] and so on. They are
        float32 for every dtype of the images, so that no level is rounded before a loss.

    Raises:
        ValueError: `levels` is not positive, the images do not have four dimensions, or a known
            size is not a multiple of 2^(levels - 1).
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
