"""PSNR and SSIM at the best shift, for pairs that are aligned only up to some pixels.

Blind deconvolution recovers an image up to a translation, so sets such as that of Levin et al. are
scored at the shift that fits best. Their own program tries quarters of a pixel, up to 5 pixels, and
leaves out 15 pixels of border; here shifts are whole pixels.
"""

import dataclasses
import itertools
from typing import Any

from keras import ops

from tfdeblur.metrics.metric import Metric
from tfdeblur.metrics.psnr import psnr_db
from tfdeblur.metrics.ssim import WINDOW, ssim


def aligned(sharp: Any, restored: Any, reach: int) -> tuple[Any, Any]:
    """Cuts out the center of images, each restored one at the shift with the smallest error.

    Args:
        sharp: Target images, float32 [B, H, W, 3] in [0, 1].
        restored: Restored images of the same shape and range.
        reach: Largest shift in pixels in each direction.

    Returns:
        Both without a border of `reach` pixels. Of equally good shifts the first counts, from the
        top left.
    """
    height, width = sharp.shape[1] - 2 * reach, sharp.shape[2] - 2 * reach
    center = sharp[:, reach : reach + height, reach : reach + width]
    best = best_error = None
    for top, left in itertools.product(range(2 * reach + 1), repeat=2):
        moved = restored[:, top : top + height, left : left + width]
        error = ops.mean(ops.square(moved - center), axis=(1, 2, 3), keepdims=True)
        if best is None:
            best, best_error = moved, error
            continue
        better = error < best_error
        best = ops.where(better, moved, best)
        best_error = ops.where(better, error, best_error)
    return center, best


def with_reach(reach: int) -> list[Metric]:
    """Returns the metrics for a largest shift in pixels, ready to compute."""
    found = []
    for metric, compute in zip(METRICS, (psnr_db, ssim), strict=True):

        def measure(sharp: Any, restored: Any, compute: Any = compute) -> Any:
            return compute(*aligned(sharp, restored, reach))

        found.append(
            dataclasses.replace(metric, compute=measure, min_size=metric.min_size + 2 * reach)
        )
    return found


_WHERE = (
    " of each image at the whole-pixel shift with the smallest squared error, of all up to that of"
    " --max-shift in either direction, without a border of that many pixels. All channels shift"
    " together."
)

METRICS = (
    Metric(
        "psnr_shift_db",
        "PSNR, best shift",
        f"PSNR of RGB{_WHERE} Averaged over the images whose input differs from the target.",
        unit="dB",
        decimals=2,
        whole_images_only=True,
    ),
    Metric(
        "ssim_shift",
        "SSIM, best shift",
        f"SSIM with an 11x11 Gaussian window of sigma 1.5{_WHERE}",
        min_size=WINDOW,
        whole_images_only=True,
    ),
)
