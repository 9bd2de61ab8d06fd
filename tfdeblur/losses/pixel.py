"""Losses on the difference of pixels, with one value per example.

Every loss takes `(sharp, restored)`, two tensors [B, H, W, C] of any floating-point dtype in the
same value range, and returns float32 [B]: the mean over height, width and channels. The arithmetic
is float32 for every input dtype, because squares of small differences underflow in 16 bits. The
value range is the generator's, so the losses scale with it; a loss that is relative to the peak
also takes `data_range`, the width of the range (1 for [0, 1], 2 for [-1, 1]).
"""

import math

from keras import ops

from tfdeblur.ops.shapes import ImageBatch, PerExample, Tensor

CHARBONNIER_EPSILON = 1e-3
# Keeps the logarithm and its gradient finite for a perfect restoration; the minimum is -80 dB.
PSNR_EPSILON = 1e-8


def difference(sharp: ImageBatch, restored: ImageBatch) -> ImageBatch:
    """Returns ``restored - sharp`` in float32."""
    return ops.cast(restored, "float32") - ops.cast(sharp, "float32")


def _mean_per_example(values: ImageBatch) -> PerExample:
    return ops.mean(values, axis=tuple(range(1, len(values.shape))))


def mse_per_example(sharp: ImageBatch, restored: ImageBatch) -> PerExample:
    """Mean squared error."""
    return _mean_per_example(ops.square(difference(sharp, restored)))


def mae_per_example(sharp: ImageBatch, restored: ImageBatch) -> PerExample:
    """Mean absolute error, the L1 loss."""
    return _mean_per_example(ops.abs(difference(sharp, restored)))


def log_cosh_per_example(sharp: ImageBatch, restored: ImageBatch) -> PerExample:
    """Mean of `log_cosh` of the difference: about x^2/2 near 0, about |x| far from it."""
    return _mean_per_example(log_cosh(difference(sharp, restored)))


def log_cosh(x: Tensor) -> Tensor:
    """Returns log(cosh(x)) element by element, accurate for small and large float32 `x`.

    `|x| + softplus(-2|x|) - log 2` never overflows, but for small |x| it subtracts nearly equal
    numbers: the result at 1e-3 is 5e-7, and the rounding error of the terms is 6e-8. Most pixel
    differences of a good restoration are that small, so the Taylor series is used below 0.25; its
    first missing term there is 7e-8 of the result.
    """
    magnitude = ops.abs(x)
    far = magnitude + ops.softplus(-2.0 * magnitude) - math.log(2.0)
    # The series would overflow for large x and turn the gradient of `where` into NaN.
    square = ops.square(ops.minimum(magnitude, 0.25))
    near = square * (0.5 + square * (-1.0 / 12.0 + square * (1.0 / 45.0 - square * (17.0 / 2520))))
    return ops.where(magnitude < 0.25, near, far)


def charbonnier_per_example(sharp: ImageBatch, restored: ImageBatch) -> PerExample:
    """Mean of sqrt(x^2 + 0.001^2), an absolute error that is smooth at zero.

    Args:
        sharp: Target images [B, H, W, C].
        restored: Restored images of the same shape and value range.

    Returns:
        float32 [B]; 0.001 for a perfect restoration.

    Reference:
        Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
        computed imaging", ICIP 1994.
    """
    squares = ops.square(difference(sharp, restored))
    return _mean_per_example(ops.sqrt(squares + CHARBONNIER_EPSILON**2))


def negative_psnr_per_example(
    sharp: ImageBatch, restored: ImageBatch, *, data_range: float = 1.0
) -> PerExample:
    """Negative peak signal-to-noise ratio in dB: -10 log10(data_range^2 / MSE).

    Args:
        sharp: Target images [B, H, W, C].
        restored: Restored images of the same shape and value range.
        data_range: Width of the value range.

    Returns:
        float32 [B]. 1e-8 is added to the mean squared error relative to the peak, so a perfect
        restoration gives -80 and finite gradients.

    Reference:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration",
        CVPRW 2021, section 3.
    """
    relative = mse_per_example(sharp, restored) / data_range**2
    return ops.log(relative + PSNR_EPSILON) * (10.0 / math.log(10.0))
