"""Structural similarity in the variants that papers report under one name.

SSIM depends on the window, on the treatment of the border, on the divisor of the covariances and on
how the three channels are combined, and changes in its second decimal with them. Each variant here
has its own key, title and protocol.

All functions take `(sharp, restored)`, two tensors [B, H, W, C] in [0, 1] of at least 11x11 pixels,
and return float32 [B], at most 1.

Reference:
    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004, section III.C.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfdeblur.metrics.metric import Metric
from tfdeblur.ops import imaging

WINDOW = 11
"""Side in pixels of the Gaussian window."""

_C1, _C2 = 0.01**2, 0.03**2
_RADIUS, _SIGMA = WINDOW // 2, 1.5
_UNIFORM = 7


def ssim(sharp: Any, restored: Any) -> Any:
    """SSIM of each channel over whole Gaussian windows.

    Equal to `skimage.metrics.structural_similarity` in float64 with `gaussian_weights=True`,
    `sigma=1.5`, `use_sample_covariance=False`, `data_range=1` and `channel_axis=-1`, which also
    omits the five pixels next to the border.
    """
    return _mean(ssim_map(gaussian, sharp, restored))


def ssim_border(sharp: Any, restored: Any) -> Any:
    """SSIM of each channel over every pixel, Gaussian window, mirrored border."""

    def mean(maps: Any) -> Any:
        border = ((0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0))
        return gaussian(ops.pad(maps, border, mode="symmetric"))

    return _mean(ssim_map(mean, sharp, restored))


def ssim_y(sharp: Any, restored: Any) -> Any:
    """SSIM of the luma over whole Gaussian windows."""
    return _mean(ssim_map(gaussian, imaging.luma(sharp), imaging.luma(restored)))


def ssim_uniform(sharp: Any, restored: Any) -> Any:
    """SSIM with scikit-image's defaults: a flat 7x7 window and sample covariances."""

    def mean(maps: Any) -> Any:
        return ops.average_pool(maps, _UNIFORM, strides=1, data_format="channels_last")

    count = _UNIFORM**2
    return _mean(ssim_map(mean, sharp, restored, count / (count - 1)))


def ssim_volume(sharp: Any, restored: Any) -> Any:
    """SSIM of the image as a volume: an 11x11x11 Gaussian that also averages over the channels.

    MATLAB's `ssim` treats an RGB image as a volume of depth 3 and repeats its border.
    """
    # With three channels and a repeated border, the third axis of the window is a 3x3 matrix.
    mixing = np.zeros((3, 3), np.float32)
    for channel in range(3):
        for offset, weight in zip(range(-_RADIUS, _RADIUS + 1), _taps(), strict=True):
            mixing[min(max(channel + offset, 0), 2), channel] += weight

    def mean(maps: Any) -> Any:
        for axis in (1, 2):
            size = ops.shape(maps)[axis]
            positions = ops.clip(ops.arange(-_RADIUS, size + _RADIUS, dtype="int32"), 0, size - 1)
            maps = ops.take(maps, positions, axis=axis)
        return gaussian(ops.matmul(maps, mixing))

    return _mean(ssim_map(mean, sharp, restored))


def gaussian(maps: Any) -> Any:
    """Returns weighted means over whole 11x11 windows, [B, H, W, C] to [B, H - 10, W - 10, C]."""
    channels = maps.shape[-1]
    for shape in ((WINDOW, 1, 1, 1), (1, WINDOW, 1, 1)):
        kernel = np.tile(_taps().reshape(shape), (1, 1, channels, 1))
        maps = ops.depthwise_conv(maps, kernel, padding="valid", data_format="channels_last")
    return maps


def ssim_map(mean: Callable[[Any], Any], sharp: Any, restored: Any, divisor: float = 1.0) -> Any:
    """Returns SSIM at every position of a window, float32 [B, h, w, C].

    Args:
        mean: Computes the means over the windows.
        sharp: Target images.
        restored: Restored images.
        divisor: Factor of the covariances.

    Raises:
        ValueError: The images are smaller than 11x11 pixels.
    """
    luminance, structure = ssim_maps(mean, sharp, restored, divisor)
    return luminance * structure


def ssim_maps(
    mean: Callable[[Any], Any], sharp: Any, restored: Any, divisor: float = 1.0
) -> tuple[Any, Any]:
    """Returns the luminance and the contrast-structure factors of `ssim_map`."""
    x, y = ops.cast(sharp, "float32"), ops.cast(restored, "float32")
    if any(size is not None and size < WINDOW for size in x.shape[1:3]):
        raise ValueError(
            f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels. Received: {x.shape}."
        )
    # Covariances do not depend on the level, but their rounding errors in float32 do.
    level = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    x, y = x - level, y - level
    maps = mean(ops.concatenate([x, y, x * x, y * y, x * y], axis=0))
    mean_x, mean_y, square_x, square_y, product = ops.split(maps, 5, axis=0)
    variances = square_x + square_y - mean_x**2 - mean_y**2
    covariance = product - mean_x * mean_y
    structure = (2 * divisor * covariance + _C2) / (divisor * variances + _C2)
    mean_x, mean_y = mean_x + level, mean_y + level
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, structure


def _taps() -> np.ndarray:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).astype(np.float32)


def _mean(maps: Any) -> Any:
    """Returns the mean over positions and channels, float32 [B]."""
    return ops.mean(maps, axis=(1, 2, 3))


_CONSTANTS = "K1 = 0.01, K2 = 0.03"
_GAUSSIAN = "an 11x11 Gaussian window of sigma 1.5"

METRICS = (
    Metric(
        "ssim",
        "SSIM",
        f"SSIM of each RGB channel with {_GAUSSIAN}, {_CONSTANTS}, biased covariances and no"
        " padding (only whole windows), averaged over positions and channels, then over all images:"
        " what scikit-image computes with gaussian_weights=True, use_sample_covariance=False and"
        " channel_axis=-1.",
        ssim,
        min_size=WINDOW,
        quick=True,
    ),
    Metric(
        "ssim_uniform",
        "SSIM 7x7",
        f"SSIM of each RGB channel with a flat 7x7 window, {_CONSTANTS}, sample covariances"
        " (divided by 48), whole windows only: the defaults of scikit-image's"
        " structural_similarity with channel_axis=-1.",
        ssim_uniform,
        min_size=WINDOW,
    ),
    Metric(
        "ssim_border",
        "SSIM with border",
        f"SSIM of each RGB channel with {_GAUSSIAN}, {_CONSTANTS}, biased covariances, averaged"
        " over every pixel, the border mirrored: the mean of the map that scikit-image returns with"
        " gaussian_weights=True, use_sample_covariance=False and full=True.",
        ssim_border,
        min_size=WINDOW,
    ),
    Metric(
        "ssim_volume",
        "SSIM volume",
        "SSIM of the image as a volume of depth 3 with an 11x11x11 Gaussian of sigma 1.5,"
        f" {_CONSTANTS}, biased covariances, over every pixel, the border repeated: what MATLAB's"
        " ssim computes for an RGB image.",
        ssim_volume,
        min_size=WINDOW,
    ),
    Metric(
        "ssim_y",
        "SSIM-Y",
        f"SSIM of the luma alone (Y of BT.601 from 16 to 235, not rounded) with {_GAUSSIAN},"
        f" {_CONSTANTS}, biased covariances, whole windows only.",
        ssim_y,
        min_size=WINDOW,
    ),
)
