"""Multi-scale structural similarity."""

from typing import Any

from keras import ops

from tfdeblur.metrics.metric import Metric
from tfdeblur.metrics.ssim import WINDOW, gaussian, ssim_maps

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MIN_SIZE = WINDOW * 2 ** (len(_WEIGHTS) - 1)


def ms_ssim(sharp: Any, restored: Any) -> Any:
    """SSIM over five scales, each half the size of the one before.

    Args:
        sharp: Target images [B, H, W, C] in [0, 1], at least 176 pixels high and wide.
        restored: Restored images of the same shape and range.

    Returns:
        float32 [B], at most 1.

    Raises:
        ValueError: The images are too small for the window at the coarsest scale.

    Reference:
        Wang, Simoncelli and Bovik, "Multi-scale Structural Similarity for Image Quality
        Assessment", Asilomar Conference on Signals, Systems and Computers 2003, equation 7.
    """
    result: Any = 1.0
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            sharp, restored = _halved(sharp), _halved(restored)
        luminance, structure = ssim_maps(gaussian, sharp, restored)
        maps = luminance * structure if scale == len(_WEIGHTS) - 1 else structure
        # A negative mean has no fractional power; like most programs, count it as 0.
        result = result * ops.relu(ops.mean(maps, axis=(1, 2))) ** weight
    return ops.mean(result, axis=-1)


def _halved(images: Any) -> Any:
    images = ops.cast(images, "float32")
    return ops.average_pool(images, 2, strides=2, padding="valid", data_format="channels_last")


METRICS = (
    Metric(
        "ms_ssim",
        "MS-SSIM",
        "Multi-scale SSIM of each RGB channel over five scales with the weights of Wang et al."
        " (2003): contrast and structure at every scale, luminance at the coarsest one, an 11x11"
        " Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, biased covariances, whole windows"
        " only, halving by means of 2x2 pixels, negative means counted as 0; averaged over"
        " channels, then over all images.",
        ms_ssim,
        min_size=_MIN_SIZE,
    ),
)
