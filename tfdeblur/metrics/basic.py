"""What is measured on restored images, one value for each example.

Every function takes `(sharp, restored)`, two tensors [B, H, W, C] in [0, 1], clipped by the
caller, and returns float32 [B]. Numbers from different programs differ by more than networks do
when their protocols differ, so each measure has one, in words, in `PROTOCOLS`.
"""

from typing import Any

import tensorflow as tf

from tfdeblur.losses import pixel

PROTOCOLS: dict[str, str] = {
    "psnr_db": (
        "PSNR in dB of each whole image against a peak of 1, from the mean squared error over"
        " height, width and the RGB channels in float32; averaged over the images whose input"
        " differs from the truth."
    ),
    "psnr_of_mean_mse_db": (
        "PSNR in dB against a peak of 1 of the mean over all images of their mean squared errors."
    ),
    "ssim": (
        "SSIM of each RGB channel with an 11x11 Gaussian window of sigma 1.5, K1 = 0.01,"
        " K2 = 0.03, biased covariances and no padding (only whole windows), averaged over"
        " positions and channels, then over all images."
    ),
    "mse": "Mean squared error on [0, 1] over height, width and channels, averaged over images.",
    "mae": "Mean absolute error on [0, 1] over height, width and channels, averaged over images.",
    "log_cosh": (
        "Mean of log(cosh(difference)) on [0, 1] over height, width and channels, averaged over"
        " images."
    ),
}

# An SSIM window must fit into the image.
SSIM_WINDOW = 11


def mse(sharp: Any, restored: Any) -> tf.Tensor:
    """Mean squared error; [B, H, W, C] in [0, 1] to float32 [B]."""
    return pixel.mse_per_example(sharp, restored)


def mae(sharp: Any, restored: Any) -> tf.Tensor:
    """Mean absolute error; [B, H, W, C] in [0, 1] to float32 [B]."""
    return pixel.mae_per_example(sharp, restored)


def log_cosh(sharp: Any, restored: Any) -> tf.Tensor:
    """Mean log(cosh(difference)); [B, H, W, C] in [0, 1] to float32 [B]."""
    return pixel.log_cosh_per_example(sharp, restored)


def psnr_of_mse(mean_squared_error: Any) -> tf.Tensor:
    """Returns -10 log10(MSE): the PSNR in dB against a peak of 1, infinite where the MSE is 0.

    Args:
        mean_squared_error: Floating-point scalar or tensor; its dtype is kept.
    """
    error = tf.convert_to_tensor(mean_squared_error)
    return tf.math.log(error) * tf.constant(-10.0 / 2.302585092994046, error.dtype)


def psnr_db(sharp: Any, restored: Any) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB against a peak of 1.

    Args:
        sharp: True images [B, H, W, C] in [0, 1].
        restored: Restored images, likewise.

    Returns:
        float32 [B]; infinite for identical images, which the caller must leave out of a mean.
    """
    return psnr_of_mse(mse(sharp, restored))


def ssim(sharp: Any, restored: Any) -> tf.Tensor:
    """Structural similarity with the window and constants of the paper, a channel at a time.

    Equal to `skimage.metrics.structural_similarity` with `gaussian_weights=True`, `sigma=1.5`,
    `use_sample_covariance=False`, `data_range=1` and `channel_axis=-1`, which leaves out the five
    pixels next to the border as this does. scikit-image's defaults (uniform 7x7 window, sample
    covariance) and MATLAB's gray-scale version give other numbers.

    Args:
        sharp: True images [B, H, W, C] in [0, 1], at least 11 pixels high and wide.
        restored: Restored images, likewise.

    Returns:
        float32 [B], at most 1.

    Raises:
        ValueError: The images are known to be smaller than the window.

    Reference:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        IEEE TIP 2004, section III.C.
    """
    sharp = tf.cast(sharp, tf.float32)
    restored = tf.cast(restored, tf.float32)
    if any(size is not None and size < SSIM_WINDOW for size in sharp.shape[1:3]):
        raise ValueError(
            f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels. "
            f"Received: {tuple(sharp.shape)}."
        )
    return tf.image.ssim(
        sharp, restored, max_val=1.0, filter_size=SSIM_WINDOW, filter_sigma=1.5, k1=0.01, k2=0.03
    )
