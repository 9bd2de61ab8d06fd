"""PSNR and SSIM of restored images that are registered to their targets first.

A camera of its own takes the targets of RealBlur, so the benchmark's evaluation scales the restored
image, registers it with a homography and measures what overlaps. A translation does the same for
sets that differ by a shift.

References:
    Rim et al., "Real-World Blur Dataset for Learning and Benchmarking Deblurring Algorithms", ECCV
    2020, section 5, and its public evaluation code.
    Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient
    Maximization", IEEE TPAMI 2008.
"""

import math
from typing import Any, Literal

import numpy as np
from keras import ops

from tfdeblur.metrics.metric import Metric
from tfdeblur.metrics.psnr import psnr_of_mean_mse_db
from tfdeblur.metrics.ssim import WINDOW, gaussian, ssim_map

Motion = Literal["homography", "translation"]

_ITERATIONS = 100
_SMOOTHING = 5


def register(
    sharp: np.ndarray, restored: np.ndarray, motion: Motion
) -> tuple[np.ndarray, np.ndarray] | None:
    """Scales a restored image and moves it onto its target.

    Args:
        sharp: Target image, float32 [H, W, 3] in [0, 1].
        restored: Restored image of the same shape and range.
        motion: How the restored image may move.

    Returns:
        The registered image, float32 [H, W, 3], and the share of its pixels that lie inside the
        restored one, float32 [H, W, 1], 0 or 1. None if the search does not converge, as for
        images that do not show the same.
    """
    import cv2

    if not (energy := float(np.sum(restored * restored, dtype=np.float64))):
        return None
    scaled = restored * np.float32(np.sum(sharp * restored, dtype=np.float64) / energy)
    target, image = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (sharp, scaled))
    # The smallest change at which the search stops early is 0, as in the benchmark's code.
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, 0.0)
    rows, mode, warp = {
        "homography": (3, cv2.MOTION_HOMOGRAPHY, cv2.warpPerspective),
        "translation": (2, cv2.MOTION_TRANSLATION, cv2.warpAffine),
    }[motion]
    start = np.eye(rows, 3, dtype=np.float32)
    everywhere = np.ones(sharp.shape[:2], np.uint8)
    try:
        _, matrix = cv2.findTransformECC(
            target, image, start, mode, criteria, everywhere, _SMOOTHING
        )
    except cv2.error:
        return None
    size = sharp.shape[1::-1]
    moved = warp(
        scaled,
        matrix,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    inside = warp(
        np.ones(sharp.shape[:2], np.float32),
        matrix,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return (moved, inside[..., np.newaxis]) if inside.any() else None


def metrics_for(motion: Motion) -> list[Metric]:
    """Returns the metrics after registration with a motion, ready to compute."""
    measure = _Measure(motion)
    found = []
    for column, key in enumerate(_keys(motion)):

        def compute(sharp: Any, restored: Any, column: int = column) -> np.ndarray:
            return measure(sharp, restored)[:, column]

        found.append(_metric(key, motion, compute))
    return found


class _Measure:
    """PSNR and SSIM of a batch, float64 [B, 2]; both metrics share one registration."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self._last: tuple[Any, Any, np.ndarray] | None = None

    def __call__(self, sharp: np.ndarray, restored: np.ndarray) -> np.ndarray:
        last = self._last
        if last is None or last[0] is not sharp or last[1] is not restored:
            pairs = zip(sharp, restored, strict=True)
            scores = np.array([self._scores(*pair) for pair in pairs], np.float64)
            self._last = last = (sharp, restored, scores)
        return last[2]

    def _scores(self, sharp: np.ndarray, restored: np.ndarray) -> tuple[float, float]:
        found = register(sharp, restored, self._motion)
        if found is None:
            return math.nan, math.nan
        moved, inside = found
        sharp, moved = sharp * inside, moved * inside
        error = np.sum(np.square(sharp - moved), dtype=np.float64) / (3 * inside.sum())
        return psnr_of_mean_mse_db({"mse": error}), _masked_ssim(sharp, moved, inside)


def _masked_ssim(sharp: np.ndarray, moved: np.ndarray, inside: np.ndarray) -> float:
    maps = ssim_map(
        gaussian, ops.convert_to_tensor(sharp[None]), ops.convert_to_tensor(moved[None])
    )
    border = WINDOW // 2
    centers = inside[border:-border, border:-border]
    if not centers.any():
        return math.nan
    values = ops.convert_to_numpy(maps)[0] * centers
    return float(np.sum(values, dtype=np.float64) / (3 * centers.sum()))


def _keys(motion: Motion) -> tuple[str, str]:
    return f"psnr_{motion}_db", f"ssim_{motion}"


def _metric(key: str, motion: Motion, compute: Any = None) -> Metric:
    psnr = key.startswith("psnr")
    title = "PSNR" if psnr else "SSIM"
    measured = title if psnr else "SSIM with an 11x11 Gaussian window of sigma 1.5"
    return Metric(
        key,
        f"{title}, {motion}",
        f"{measured} of RGB after the image is scaled to the target's brightness and registered to"
        f" it with a {motion} (OpenCV's findTransformECC on gray images, 100 iterations; cubic"
        " interpolation), over the pixels that lie inside it. NaN if the registration does not"
        " converge.",
        compute,
        on_host=True,
        unit="dB" if psnr else "",
        decimals=2 if psnr else 4,
        min_size=WINDOW,
        whole_images_only=True,
    )


METRICS = tuple(
    _metric(key, motion) for motion in ("homography", "translation") for key in _keys(motion)
)
