"""Content losses by name: pixel losses, frequency losses and, in `perceptual`, VGG19 features.

All of them compare two image batches and return one value per example. Adversarial losses and the
gradient penalty are in `tfdeblur.objectives`.
"""

from collections.abc import Callable

from tfdeblur.losses import frequency, pixel
from tfdeblur.ops.shapes import PerExample

CONTENT_LOSSES: dict[str, Callable[..., PerExample]] = {
    "mse": pixel.mse_per_example,
    "mae": pixel.mae_per_example,
    "log_cosh": pixel.log_cosh_per_example,
    "charbonnier": pixel.charbonnier_per_example,
    "negative_psnr": pixel.negative_psnr_per_example,
    "fft": frequency.fft_per_example,
}
"""Losses without state. Each takes `(sharp, restored)`, two tensors [B, H, W, C] in the same value
range, and returns float32 [B]."""

RELATIVE_LOSSES = frozenset({"negative_psnr"})
"""Losses relative to the peak, which also take `data_range`: 1 for [0, 1], 2 for [-1, 1]."""
