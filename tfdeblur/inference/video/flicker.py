"""Temporal flicker: how much more neighboring frames differ than those of the input."""

import dataclasses

import numpy as np

_LEVELS = 255


@dataclasses.dataclass(frozen=True)
class Flicker:
    """Means over all neighboring frames and all pixels, in steps of 8 bits.

    Attributes:
        before: Mean absolute difference of neighboring frames of the input.
        after: The same of the restored frames. Sharper edges that move increase it as well.
        excess: Mean of what the difference of a pixel exceeds that of the input by; 0 if no pixel
            changes more than it did.
        pairs: Number of pairs of neighboring frames.
    """

    before: float
    after: float
    excess: float
    pairs: int

    def __str__(self) -> str:
        return (
            f"neighboring frames differ by {self.after:.2f} of {_LEVELS} steps (input "
            f"{self.before:.2f}), {self.excess:.2f} beyond the input"
        )


class FlickerMeter:
    """Measures flicker frame by frame; keeps the last pair of frames."""

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._sums = np.zeros(3)
        self._pairs = 0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Adds consecutive frames.

        Args:
            before: Frames of the input, uint8 or uint16 [B, H, W, 3].
            after: The restored frames, of the same shape and dtype.
        """
        factor = _LEVELS / np.iinfo(before.dtype).max
        for pair in zip(before, after, strict=True):
            if self._last is not None:
                # int32 holds differences of 16 bits.
                old, new = (
                    np.abs(now.astype(np.int32) - then)
                    for now, then in zip(pair, self._last, strict=True)
                )
                means = [old.mean(), new.mean(), np.maximum(new - old, 0).mean()]
                self._sums += factor * np.array(means)
                self._pairs += 1
            self._last = pair

    def result(self) -> Flicker | None:
        """Returns the means, or None for fewer than two frames."""
        if not self._pairs:
            return None
        before, after, excess = (self._sums / self._pairs).tolist()
        return Flicker(before, after, excess, self._pairs)
