"""How far things move between two frames, and the frames that might lie between them.

All of it rests on OpenCV's dense optical flow (DIS), which the extra `video` brings.

Reference: Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeblur.errors import UserError

# Flow is measured on frames reduced to this length: enough for half a pixel, and far faster.
_LONG_SIDE = 640
# Rounds in which the flow at a moment between two frames is looked up where it comes from.
_ROUNDS = 3


def opencv() -> Any:
    """Returns the module `cv2`.

    Raises:
        UserError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            "Video and optical flow need OpenCV: pip install 'tfdeblur[video]' (or "
            "opencv-python-headless)."
        ) from error
    # Its flow is computed in stripes, one for each thread, and differs with their number; and
    # there is a process for each core already.
    cv2.setNumThreads(1)
    return cv2


@dataclasses.dataclass(frozen=True)
class Displacement:
    """How far things move from one frame to the next, in pixels.

    Attributes:
        median: Half of the picture moves less than this.
        high: 95 % of the picture moves less than this.
    """

    median: float
    high: float


def measure(before: np.ndarray, after: np.ndarray) -> Displacement:
    """Measures the motion between two frames.

    Args:
        before: uint8 [height, width, 3].
        after: The next frame, of the same size.

    Returns:
        Median and 95th percentile of the lengths of the flow, in pixels of the frames.
    """
    cv2 = opencv()
    height, width = before.shape[:2]
    scale = min(1.0, _LONG_SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (before, after)]
    flow = _flow(cv2, small[0], small[1], fast=True)
    lengths = np.hypot(flow[..., 0] * (width / size[0]), flow[..., 1] * (height / size[1]))
    median, high = np.percentile(lengths, (50, 95))
    return Displacement(float(median), float(high))


def _flow(cv2: Any, before: np.ndarray, after: np.ndarray, fast: bool = False) -> np.ndarray:
    """Returns where each pixel of a frame goes: float32 [height, width, 2], x and y in pixels."""
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
    """Makes frames between two frames by moving their pixels along the optical flow.

    Things are taken to move on straight lines at constant speed. For a moment t, the flow of each
    pixel is looked up where the pixel comes from, by a few rounds of fixed-point iteration, and
    the pixel is the mean of where it was and where it will be, weighted by 1 - t and t. This is
    done with the flow forward and the flow backward, and each pixel follows the one along which
    both frames agree better: at the border of a moving thing one of them usually does.

    Args:
        before: uint8 [height, width, 3]; frames of at least 16x16 pixels.
        after: The next frame.
        light: Both frames as float32 [height, width, 3] in the light in which they are mixed.
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
        # The flow backward is the same task with both frames and the time turned round.
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
