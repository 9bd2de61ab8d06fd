"""Peak signal-to-noise ratio of RGB and of luma."""

import math
from collections.abc import Mapping
from typing import Any

from keras import ops

from tfdeblur.losses import pixel
from tfdeblur.metrics.metric import Metric
from tfdeblur.ops import imaging


def psnr_db(sharp: Any, restored: Any) -> Any:
    """Peak signal-to-noise ratio in dB against a peak of 1.

    Args:
        sharp: Target images [B, H, W, C] in [0, 1].
        restored: Restored images of the same shape and range.

    Returns:
        float32 [B]; infinite for identical images.
    """
    return ops.log(pixel.mse_per_example(sharp, restored)) * (-10.0 / math.log(10.0))


def psnr_y(sharp: Any, restored: Any) -> Any:
    """PSNR in dB of the luma; see `psnr_db`."""
    return psnr_db(imaging.luma(sharp), imaging.luma(restored))


def psnr_of_mean_mse_db(means: Mapping[str, float]) -> float:
    """Returns the PSNR in dB of a split's mean `mse`; infinite if it is 0, NaN if it is missing."""
    mse = means.get("mse", math.nan)
    return math.inf if mse == 0 else -10 * math.log10(mse)


METRICS = (
    Metric(
        "psnr_db",
        "PSNR",
        "PSNR of RGB against a peak of 1 (255 for files), from the mean squared error over height,"
        " width and channels of an image in float32; averaged over the images whose input differs"
        " from the target.",
        psnr_db,
        unit="dB",
        decimals=2,
        quick=True,
    ),
    Metric(
        "psnr_of_mean_mse_db",
        "PSNR of mean MSE",
        "PSNR in dB against a peak of 1 of the mean over all images of their mean squared errors.",
        unit="dB",
        decimals=2,
        quick=True,
        from_means=psnr_of_mean_mse_db,
    ),
    Metric(
        "psnr_y",
        "PSNR-Y",
        "PSNR of the luma alone: Y of BT.601 from 16 (black) to 235 (white), not rounded, against a"
        " peak of 255; averaged over the images whose input differs from the target.",
        psnr_y,
        unit="dB",
        decimals=2,
    ),
)
