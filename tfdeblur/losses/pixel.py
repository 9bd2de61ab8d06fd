"""Content losses with one value for each example.

Every function takes `(sharp, restored)`, two tensors [B, H, W, C] of any floating-point dtype in
the same value range, and returns float32 [B]: the mean over an example's height, width and
channels (`fft_per_example`: over its frequencies and channels). The arithmetic is float32 whatever
the dtype of the inputs, because squares of small differences underflow in 16 bits. Values are taken
as they are, in the range of the generator; `data_range`, the distance between black and white (1 in
[0, 1], 2 in [-1, 1]), is accepted by all so that they can be exchanged, and used where a loss is
defined against the peak.
"""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

CHARBONNIER_EPSILON = 1e-3
# Keeps the logarithm and its gradient finite for a perfect restoration: the loss ends at -80 dB.
PSNR_EPSILON = 1e-8


def _difference(sharp: Any, restored: Any) -> Any:
    return ops.cast(restored, "float32") - ops.cast(sharp, "float32")


def _mean_per_example(values: Any) -> Any:
    return ops.mean(values, axis=tuple(range(1, len(values.shape))))


def mse_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Mean squared error.

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Not used by this loss.

    Returns:
        float32 [B].
    """
    del data_range
    return _mean_per_example(ops.square(_difference(sharp, restored)))


def mae_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Mean absolute error.

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Not used by this loss.

    Returns:
        float32 [B].
    """
    del data_range
    return _mean_per_example(ops.abs(_difference(sharp, restored)))


def log_cosh_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Mean logarithm of the hyperbolic cosine of the difference: x^2/2 near 0, |x| far away.

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Not used by this loss.

    Returns:
        float32 [B].
    """
    del data_range
    return _mean_per_example(log_cosh(_difference(sharp, restored)))


def log_cosh(x: Any) -> Any:
    """Returns log(cosh(x)) element by element, accurate for small and large float32 `x`.

    `|x| + softplus(-2|x|) - log 2` never overflows, but for small |x| it subtracts nearly equal
    numbers: the result at 1e-3 is 5e-7, and the rounding error of the terms is 6e-8. Most
    differences between pixels of a good restoration are that small, so below 0.25 the Taylor
    series takes over; at the border its first missing term is 7e-8 of the result.
    """
    magnitude = ops.abs(x)
    far = magnitude + ops.softplus(-2.0 * magnitude) - math.log(2.0)
    # The series would overflow for large x and turn the gradient of `where` into NaN.
    square = ops.square(ops.minimum(magnitude, 0.25))
    near = square * (0.5 + square * (-1.0 / 12.0 + square * (1.0 / 45.0 - square * (17.0 / 2520))))
    return ops.where(magnitude < 0.25, near, far)


def charbonnier_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Mean of sqrt(x^2 + 0.001^2), an absolute error that is smooth at zero.

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Not used by this loss.

    Returns:
        float32 [B]; 0.001 for a perfect restoration.

    Reference:
        Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
        computed imaging", ICIP 1994.
    """
    del data_range
    squares = ops.square(_difference(sharp, restored))
    return _mean_per_example(ops.sqrt(squares + CHARBONNIER_EPSILON**2))


def negative_psnr_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Negative peak signal-to-noise ratio, in dB: -10 log10(data_range^2 / MSE).

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Distance between black and white.

    Returns:
        float32 [B]. The mean squared error relative to the peak is raised by 1e-8, so that a
        perfect restoration gives -80 and finite gradients.

    Reference:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration",
        CVPRW 2021, section 3.
    """
    relative = mse_per_example(sharp, restored) / data_range**2
    return ops.log(relative + PSNR_EPSILON) * (10.0 / math.log(10.0))


def fft_per_example(sharp: Any, restored: Any, *, data_range: float = 1.0) -> Any:
    """Mean absolute difference of the 2-D Fourier transforms, real and imaginary parts apart.

    The transform is linear, so the one of the difference is the difference of the two. Of a real
    image only half the frequencies are transformed: the others are complex conjugates, whose parts
    have the same magnitudes, and are counted with them.

    Args:
        sharp: True images [B, H, W, C].
        restored: Restored images [B, H, W, C].
        data_range: Not used by this loss.

    Returns:
        float32 [B]: the mean over the 2 x H x W x C real and imaginary parts of the full transform
        without normalization. A difference of 1 in one pixel of each channel gives 0.5 to 0.7.

    Reference:
        Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021:
        one scale of the multi-scale frequency reconstruction loss, whose weight is 0.1 there.
    """
    del data_range
    difference = ops.transpose(_difference(sharp, restored), (0, 3, 1, 2))
    _, channels, height, width = ops.shape(difference)
    rows = ops.rfft(difference)
    real, imaginary = ops.fft(tuple(ops.swapaxes(part, 2, 3) for part in rows))
    # Column k stands for its conjugate, W - k, too, unless that is the same column.
    column = ops.arange(width // 2 + 1)
    alone = ops.logical_or(ops.equal(column, 0), ops.equal(2 * column, width))
    times = ops.reshape(ops.where(alone, 1.0, 2.0), (-1, 1))
    total = ops.sum((ops.abs(real) + ops.abs(imaginary)) * times, axis=(1, 2, 3))
    return total / ops.cast(2 * channels * height * width, "float32")


PerExampleLoss = Callable[..., Any]

CONTENT_LOSSES: dict[str, PerExampleLoss] = {
    "mse": mse_per_example,
    "mae": mae_per_example,
    "log_cosh": log_cosh_per_example,
    "charbonnier": charbonnier_per_example,
    "negative_psnr": negative_psnr_per_example,
    "fft": fft_per_example,
}
