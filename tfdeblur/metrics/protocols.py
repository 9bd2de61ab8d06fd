"""The measures that papers report under one name, each as its authors' program computes it.

"PSNR" and "SSIM" are several numbers. SSIM alone depends on the window, on how its border is
treated, on the covariance's divisor and on what is done with the three colors, and changes in its
second decimal with them. Here every variant has a key, a title and a sentence that says what it
is; the quick measures of `tfdeblur.metrics.basic` are two of them.

All functions take `(sharp, restored)`, two tensors [B, H, W, 3] in [0, 1], and return float32 [B].
LPIPS has none here: it needs weights, see `tfdeblur.metrics.lpips`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.metrics import basic, lpips

LPIPS = "lpips_"
"""What the keys of LPIPS begin with; the name of a network of `tfdeblur.metrics.lpips` follows."""

_C1, _C2 = 0.01**2, 0.03**2
_RADIUS, _SIGMA = 5, 1.5
_UNIFORM = 7

# BT.601 with the head room of video, as MATLAB's rgb2ycbcr has it: 16 is black, 235 is white.
_LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255
_BLACK = 16 / 255


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number that papers report.

    Attributes:
        title: Head of its column.
        sentence: How it is measured.
        function: `(sharp, restored)` to float32 [B]; None where it is made of files of weights.
        decimals: How many are printed.
        smallest: Pixels that height and width must have.
        higher_is_better: Which way is up.
    """

    title: str
    sentence: str
    function: Callable[[Any, Any], tf.Tensor] | None
    decimals: int
    smallest: int = 1
    higher_is_better: bool = True


def luma(images: Any) -> tf.Tensor:
    """Returns Y of BT.601 in the range of video, not rounded.

    Args:
        images: RGB [B, H, W, 3] in [0, 1].

    Returns:
        float32 [B, H, W, 1], from 16/255 (black) to 235/255 (white).

    Reference:
        ITU-R BT.601, section 2.5; MATLAB's `rgb2ycbcr` and scikit-image's give the same Y.
    """
    weighted = tf.cast(images, tf.float32) * tf.constant(_LUMA)
    return tf.reduce_sum(weighted, axis=-1, keepdims=True) + _BLACK


def psnr_y(sharp: Any, restored: Any) -> tf.Tensor:
    """PSNR in dB of the luma alone; see `MEASURES`."""
    return basic.psnr_db(luma(sharp), luma(restored))


def ssim_y(sharp: Any, restored: Any) -> tf.Tensor:
    """SSIM of the luma alone with the window of the paper; see `MEASURES`."""
    return _average(_ssim_map(_gaussian, luma(sharp), luma(restored)))


def ssim_uniform(sharp: Any, restored: Any) -> tf.Tensor:
    """SSIM with scikit-image's default: a flat 7x7 window and sample covariances."""
    count = _UNIFORM**2

    def mean(maps: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(maps, _UNIFORM, 1, "VALID")

    return _average(_ssim_map(mean, sharp, restored, count / (count - 1)))


def ssim_gaussian(sharp: Any, restored: Any) -> tf.Tensor:
    """SSIM of each channel with the paper's window, as `metrics.ssim` but for its rounding."""
    # Cut out of the other's map, which TensorFlow then computes once for both.
    inside = slice(_RADIUS, -_RADIUS)
    return _average(_mirrored_map(sharp, restored)[:, inside, inside])


def ssim_border(sharp: Any, restored: Any) -> tf.Tensor:
    """SSIM of each channel, Gaussian window, over every pixel: the border is mirrored."""
    return _average(_mirrored_map(sharp, restored))


def _mirrored_map(sharp: Any, restored: Any) -> tf.Tensor:
    def mean(maps: tf.Tensor) -> tf.Tensor:
        border = [(0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0)]
        return _gaussian(tf.pad(maps, border, mode="SYMMETRIC"))

    return _ssim_map(mean, sharp, restored)


def ssim_volume(sharp: Any, restored: Any) -> tf.Tensor:
    """SSIM of the image as a volume: a Gaussian of 11x11x11 that also blurs across the colors.

    MATLAB's `ssim` takes an RGB image for a volume of depth 3, and repeats its border.
    """
    # With three channels the repeated border makes the window's third axis a 3x3 matrix.
    taps = _taps()
    mixing = np.zeros((3, 3), np.float32)
    for channel in range(3):
        for offset, weight in zip(range(-_RADIUS, _RADIUS + 1), taps, strict=True):
            mixing[min(max(channel + offset, 0), 2), channel] += weight

    def mean(maps: tf.Tensor) -> tf.Tensor:
        for axis in (1, 2):
            size = tf.shape(maps)[axis]
            places = tf.clip_by_value(tf.range(-_RADIUS, size + _RADIUS), 0, size - 1)
            maps = tf.gather(maps, places, axis=axis)
        return _gaussian(tf.einsum("bhwc,cd->bhwd", maps, tf.constant(mixing)))

    return _average(_ssim_map(mean, sharp, restored))


def lost_gradient(sharp: Any, blurred: Any) -> tf.Tensor:
    """Returns which share of the truth's gradient the input has lost: how blurred it is.

    Args:
        sharp: True images [B, H, W, 3] in [0, 1].
        blurred: The inputs, likewise.

    Returns:
        float32 [B]: 1 minus the ratio of the mean absolute differences of neighboring pixels'
        luma. 0 is as sharp as the truth, 1 is flat; noise makes it negative.
    """

    def strength(images: Any) -> tf.Tensor:
        gray = luma(images)
        down, right = gray[:, 1:] - gray[:, :-1], gray[:, :, 1:] - gray[:, :, :-1]
        axes = [1, 2, 3]
        return tf.reduce_mean(tf.abs(down), axes) + tf.reduce_mean(tf.abs(right), axes)

    return 1.0 - tf.math.divide_no_nan(strength(blurred), strength(sharp))


def as_uint8(images: Any) -> tf.Tensor:
    """Rounds to the 256 levels of a file, half to even; float32 in [0, 1] stays float32."""
    return tf.round(tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 1.0) * 255.0) / 255.0


def _taps() -> np.ndarray:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).astype(np.float32)


def _gaussian(maps: tf.Tensor) -> tf.Tensor:
    """Weighted means over whole 11x11 windows, one axis after the other."""
    channels = maps.shape[-1]
    taps = tf.constant(_taps())
    for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
        kernel = tf.tile(tf.reshape(taps, shape), [1, 1, channels, 1])
        maps = tf.nn.depthwise_conv2d(maps, kernel, [1, 1, 1, 1], "VALID")
    return maps


def _average(maps: tf.Tensor) -> tf.Tensor:
    """Returns the mean over positions and channels, float32 [B]."""
    return tf.reduce_mean(maps, axis=[1, 2, 3])


def _ssim_map(
    mean: Callable[[tf.Tensor], tf.Tensor], sharp: Any, restored: Any, divisor: float = 1.0
) -> tf.Tensor:
    """Returns SSIM at every position of the window whose `mean` is given, float32 [B, h, w, C].

    `divisor` multiplies the covariances.
    """
    x, y = tf.cast(sharp, tf.float32), tf.cast(restored, tf.float32)
    if any(size is not None and size < 2 * _RADIUS + 1 for size in x.shape[1:3]):
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels. Received: {x.shape}.")
    # Covariances do not change with the level, but in float32 their rounding does.
    level = tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
    x, y = x - level, y - level
    maps = mean(tf.concat([x, y, x * x, y * y, x * y], axis=0))
    mean_x, mean_y, square_x, square_y, product = tf.split(maps, 5)
    both = square_x + square_y - mean_x**2 - mean_y**2
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + level, mean_y + level
    brightness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * divisor * covariance + _C2) / (divisor * both + _C2)
    return brightness * structure


def _learned(network: str) -> Measure:
    known = lpips.NETWORKS[network]
    return Measure(
        f"LPIPS ({known.title}, v0.1)",
        f"LPIPS 0.1 of RGB with the features of {known.title} after five of its ReLUs: images taken"
        " from [0, 1] to [-1, 1] and then shifted and scaled as the reference does it, features of"
        " unit length, squared differences weighted by the linear heads, averaged over positions,"
        " summed over the five. Whole images only. Lower is better. The reference reads files, so"
        " what was rounded to uint8 is comparable with papers.",
        None,
        4,
        known.smallest,
        higher_is_better=False,
    )


_CONSTANTS = "K1 = 0.01, K2 = 0.03"
_WINDOW = "an 11x11 Gaussian window of sigma 1.5"

MEASURES: dict[str, Measure] = {
    "psnr": Measure(
        "PSNR dB",
        "PSNR of RGB against a peak of 1 (255 for files), from the mean squared error over height,"
        " width and channels of an image; averaged over the images whose input differs from the"
        " truth.",
        basic.psnr_db,
        2,
    ),
    "psnr_y": Measure(
        "PSNR-Y dB",
        "The same of the luma alone: Y of BT.601 from 16 (black) to 235 (white), not rounded,"
        " against a peak of 255.",
        psnr_y,
        2,
    ),
    "ssim": Measure(
        "SSIM tf.image",
        f"SSIM of each RGB channel with {_WINDOW}, {_CONSTANTS}, biased covariances, whole windows"
        " only, averaged over positions and channels: tf.image.ssim. Its float32 covariances lose"
        " digits in bright, flat areas, so on real frames it departs from the same SSIM in float64"
        " by up to 5e-4.",
        basic.ssim,
        4,
        basic.SSIM_WINDOW,
    ),
    "ssim_uniform": Measure(
        "SSIM 7x7",
        f"SSIM of each RGB channel with a flat 7x7 window, {_CONSTANTS}, sample covariances"
        " (divided by 48), whole windows only: the defaults of scikit-image's"
        " structural_similarity with channel_axis=-1.",
        ssim_uniform,
        4,
        basic.SSIM_WINDOW,
    ),
    "ssim_gaussian": Measure(
        "SSIM Gaussian",
        f"SSIM of each RGB channel with {_WINDOW}, {_CONSTANTS}, biased covariances, whole windows"
        " only, averaged over positions and channels: scikit-image with gaussian_weights=True,"
        " use_sample_covariance=False and channel_axis=-1, in float64.",
        ssim_gaussian,
        4,
        basic.SSIM_WINDOW,
    ),
    "ssim_border": Measure(
        "SSIM with border",
        f"SSIM of each RGB channel with {_WINDOW}, {_CONSTANTS}, biased covariances, averaged over"
        " every pixel, the border mirrored: the mean of the map that scikit-image returns with"
        " gaussian_weights=True, use_sample_covariance=False and full=True.",
        ssim_border,
        4,
        basic.SSIM_WINDOW,
    ),
    "ssim_volume": Measure(
        "SSIM volume",
        "SSIM of the image as a volume of depth 3 with an 11x11x11 Gaussian of sigma 1.5,"
        f" {_CONSTANTS}, biased covariances, over every pixel, the border repeated: what MATLAB's"
        " ssim makes of an RGB image.",
        ssim_volume,
        4,
        basic.SSIM_WINDOW,
    ),
    "ssim_y": Measure(
        "SSIM-Y",
        f"SSIM of the luma alone (see PSNR-Y) with {_WINDOW}, {_CONSTANTS}, biased covariances,"
        " whole windows only.",
        ssim_y,
        4,
        basic.SSIM_WINDOW,
    ),
    **{f"{LPIPS}{network}": _learned(network) for network in lpips.NETWORKS},
}
"""What a full score card measures, by key."""


def fitting(height: int, width: int) -> list[str]:
    """Returns the keys of the measures that images of this size have, without any weights."""
    return [
        key
        for key, measure in MEASURES.items()
        if measure.function is not None and min(height, width) >= measure.smallest
    ]
