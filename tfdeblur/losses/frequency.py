"""Losses on the Fourier transform of images."""

from keras import ops

from tfdeblur.losses.pixel import difference
from tfdeblur.ops.shapes import ImageBatch, PerExample


def fft_per_example(sharp: ImageBatch, restored: ImageBatch) -> PerExample:
    """Mean absolute difference of the 2-D Fourier transforms, real and imaginary parts separately.

    The transform is linear, so only the difference of the images is transformed. Only half of the
    frequencies of a real image are computed: the others are their complex conjugates, whose parts
    have the same magnitudes, and are counted by a factor of 2.

    Args:
        sharp: Target images [B, H, W, C].
        restored: Restored images of the same shape and value range.

    Returns:
        float32 [B]: the mean over the 2 x H x W x C real and imaginary parts of the full,
        unnormalized transform. A difference of 1 in one pixel of each channel gives 0.5 to 0.7.

    Reference:
        Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021:
        one scale of the multi-scale frequency reconstruction loss, used there with weight 0.1.
    """
    planes = ops.transpose(difference(sharp, restored), (0, 3, 1, 2))
    _, channels, height, width = ops.shape(planes)
    rows = ops.rfft(planes)
    real, imaginary = ops.fft(tuple(ops.swapaxes(part, 2, 3) for part in rows))
    # Column k also stands for its conjugate, W - k, unless both are the same column.
    column = ops.arange(width // 2 + 1)
    is_own_conjugate = ops.logical_or(ops.equal(column, 0), ops.equal(2 * column, width))
    times = ops.reshape(ops.where(is_own_conjugate, 1.0, 2.0), (-1, 1))
    total = ops.sum((ops.abs(real) + ops.abs(imaginary)) * times, axis=(1, 2, 3))
    return total / ops.cast(2 * channels * height * width, "float32")
