"""PSNR against the best of several targets, as the benchmark of Köhler et al. computes it.

A shaking camera sees a scene from many positions, and a restored image may show it from any of
them. So the benchmark has a target for each position, about 200 along a path, and the best counts.

Reference:
    Köhler et al., "Recording and Playback of Camera Shake: Benchmarking Blind Deconvolution with a
    Real-World Database", ECCV 2012, section 4, and its public evaluation code.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfdeblur.metrics.metric import Metric
from tfdeblur.metrics.psnr import psnr_of_mean_mse_db

_LUMA = np.array([0.299, 0.587, 0.114])


def psnr_moved_db(target: np.ndarray, restored: np.ndarray) -> float:
    """Returns the PSNR of the luma after scaling and moving an image onto a target.

    The image is scaled to the target's brightness and moved by the whole pixels at which the
    circular cross-correlation of both is largest. Pixels that it does not cover count as exact.

    Args:
        target: float32 [H, W, 3] in [0, 1].
        restored: The image, of the same shape and range.
    """
    scaled = restored * (np.vdot(target, restored) / (np.vdot(restored, restored) or 1.0))
    spectra = [np.fft.rfft2(image.mean(axis=2)) for image in (target, scaled)]
    size = target.shape[:2]
    correlation = np.fft.irfft2(spectra[0] * spectra[1].conj(), size)
    peak = np.unravel_index(np.argmax(correlation), size)
    # From the middle on, a shift is one to the other side.
    shift = [int(s) - n * (s >= n // 2) for s, n in zip(peak, size, strict=True)]
    onto = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, size, strict=True))
    source = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, size, strict=True))
    error = np.square((target[onto] - scaled[source]) @ _LUMA).sum() / (size[0] * size[1])
    return psnr_of_mean_mse_db({"mse": float(error)})


def with_targets(targets_of: Callable[[np.ndarray], Iterable[np.ndarray]]) -> list[Metric]:
    """Returns the metric, ready to compute.

    Args:
        targets_of: Returns all targets of an image, float32 [H, W, 3] in [0, 1], by the one of its
            pair.
    """

    def best(sharp: np.ndarray, restored: np.ndarray) -> float:
        # Black images pad the last batch.
        targets = targets_of(sharp) if sharp.any() else [sharp]
        return max(psnr_moved_db(target, restored) for target in targets)

    def compute(sharp: Any, restored: Any) -> np.ndarray:
        return np.array([best(*pair) for pair in zip(sharp, restored, strict=True)], np.float32)

    return [dataclasses.replace(METRICS[0], compute=compute)]


METRICS = (
    Metric(
        "psnr_target_db",
        "PSNR, best target",
        "PSNR of the luma (0.299 R + 0.587 G + 0.114 B) against the target in the folder of"
        " --targets that fits best. For each, the image is scaled to its brightness and moved by"
        " the whole pixels at which their circular cross-correlation is largest; pixels that the"
        " moved image does not cover count as exact.",
        on_host=True,
        unit="dB",
        decimals=2,
        whole_images_only=True,
    ),
)
