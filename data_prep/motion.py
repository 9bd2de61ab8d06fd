"""Measures motion between two frames, and interpolates frames between them.

Both use OpenCV's dense optical flow (DIS), which the extra `video` installs.

Reference: Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdeblur.cli.environment import require_opencv

# Motion is measured on frames reduced to this longer side: accurate to half a pixel and far faster.
_LONG_SIDE = 640
# Fixed-point iterations of the flow at a moment between two frames.
_ROUNDS = 3


def opencv() -> Any:
    """Returns the module `cv2`.

    Raises:
        UserError: OpenCV is not installed.
    """
    # FFmpeg's own messages about damaged videos; -8 is none. OpenCV reads it once.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = require_opencv("Reading video and optical flow", "video")
    # The flow depends on the number of threads, and there is a process per core already.
    cv2.setNumThreads(1)
    return cv2


class Displacement(NamedTuple):
    """Displacement from one frame to the next, in pixels: two percentiles over its pixels."""

    high: float
    """95th percentile."""

    median: float


def measure(before: np.ndarray, after: np.ndarray) -> Displacement:
    """Measures the motion between two frames.

    Args:
        before: uint8 [height, width, 3].
        after: The next frame, of the same size.

    Returns:
        Percentiles of the length of the optical flow, in pixels of the full-size frames.
    """
    cv2 = opencv()
    height, width = before.shape[:2]
    scale = min(1.0, _LONG_SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (before, after)]
    flow = _flow(cv2, small[0], small[1], fast=True)
    lengths = np.hypot(flow[..., 0] * (width / size[0]), flow[..., 1] * (height / size[1]))
    median, high = np.percentile(lengths, (50, 95))
    return Displacement(float(high), float(median))


def _flow(cv2: Any, before: np.ndarray, after: np.ndarray, fast: bool = False) -> np.ndarray:
    """Returns the displacement of each pixel: float32 [height, width, 2], x and y in pixels."""
    preset = cv2.DISOPTICAL_FLOW_PRESET_FAST if fast else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    flow: np.ndarray = cv2.DISOpticalFlow_create(preset).calc(*gray, None)
    return flow


def between(
    before: np.ndarray,
    after: np.ndarray,
    light: tuple[np.ndarray, np.ndarray],
    times: Sequence[float],
) -> list[np.ndarray]:
    """Interpolates frames by moving pixels along the optical flow.

    Motion between the two frames is assumed to be linear. For a moment t, the flow of each pixel
    is found at its origin by a few fixed-point iterations, and the pixel is the mean of its values
    in both frames, weighted by 1 - t and t. This is done with the forward and the backward flow,
    weighted by how well both frames agree along each: at the border of a moving object one of them
    is usually right.

    Args:
        before: uint8 [height, width, 3]; frames of at least 16x16 pixels.
        after: The next frame.
        light: Both frames as float32 [height, width, 3], in the light in which they are mixed.
        times: Moments between 0 (`before`) and 1 (`after`).

    Returns:
        The frames at those moments, float32 in the light of `light`.
    """
    cv2 = opencv()
    height, width = before.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    grid = np.stack([columns, rows], -1)
    flows = (_flow(cv2, before, after), _flow(cv2, after, before))

    def look(image: np.ndarray, places: np.ndarray) -> np.ndarray:
        found: np.ndarray = cv2.remap(
            image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return found

    made = []
    for time in times:
        candidates, weights = [], []
        # The backward flow is the same problem with frames and time reversed.
        for flow, (first, second), moment in (
            (flows[0], light, time),
            (flows[1], light[::-1], 1 - time),
        ):
            moved = flow
            for _ in range(_ROUNDS):
                moved = look(flow, grid - moment * moved)
            start = look(first, grid - moment * moved)
            end = look(second, grid + (1 - moment) * moved)
            candidates.append((1 - moment) * start + moment * end)
            apart = cv2.blur(np.abs(start - end).max(-1), (5, 5))
            weights.append(1 / (apart + 1e-3) ** 2)
        total = weights[0] + weights[1]
        made.append(
            sum(c * (w / total)[..., None] for c, w in zip(candidates, weights, strict=True))
        )
    return made
