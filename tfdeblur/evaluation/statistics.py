"""Summary statistics and bootstrap confidence intervals."""

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95

# Resamples held in memory at once: 8 MB for 10,000 images.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class Summary:
    """Summary of some values; NaN if there are none.

    Attributes:
        mean: Mean.
        median: Median.
        deviation: Sample standard deviation, with n - 1 in the denominator.
        low: 5th percentile.
        high: 95th percentile.
        least: Minimum.
        most: Maximum.
        count: Number of values.
    """

    mean: float
    median: float
    deviation: float
    low: float
    high: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Summary":
        """Summarizes values [n], ignoring NaN."""
        found = np.asarray(values, np.float64)
        found = found[~np.isnan(found)]
        if not found.size:
            nan = float("nan")
            return cls(nan, nan, nan, nan, nan, nan, nan, 0)
        deviation = float(np.std(found, ddof=1)) if found.size > 1 else float("nan")
        low, median, high = (float(part) for part in np.percentile(found, (5, 50, 95)))
        return cls(
            mean=float(np.mean(found)),
            median=median,
            deviation=deviation,
            low=low,
            high=high,
            least=float(found.min()),
            most=float(found.max()),
            count=int(found.size),
        )


@dataclasses.dataclass(frozen=True)
class Gain:
    """A paired difference over a split.

    Attributes:
        mean: Mean of the differences.
        by_image: 95% bootstrap interval of the mean, resampling images; None below two images.
        by_scene: The same, resampling whole scenes. Images of a scene are similar, so this
            interval is wider and predicts other scenes better. None below two scenes.
        share_better: Share of images with a positive difference, from 0 to 1.
        count: Number of images with a difference.
    """

    mean: float
    by_image: tuple[float, float] | None
    by_scene: tuple[float, float] | None
    share_better: float
    count: int


def gains(differences: np.ndarray, scenes: Sequence[str]) -> list[Gain]:
    """Returns mean differences with bootstrap intervals.

    All columns share the same seeded resamples.

    Args:
        differences: [images, columns], positive if an image is better; NaN if undefined, in whole
            rows or in single columns.
        scenes: The scene of each image.

    Returns:
        A gain per column.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile
        intervals); whole scenes are resampled as in the cluster bootstrap.
    """
    values = np.asarray(differences, np.float64)
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0), known.astype(np.float64)
    names, places = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    member = np.zeros((len(names), len(values)))
    member[places, np.arange(len(values))] = 1
    by_image = _intervals(sums, counts)
    by_scene = _intervals(member @ sums, member @ counts)
    found = []
    for column in range(values.shape[1]):
        there = values[known[:, column], column]
        found.append(
            Gain(
                mean=float(np.mean(there)) if there.size else float("nan"),
                by_image=by_image[column],
                by_scene=by_scene[column],
                share_better=float(np.mean(there > 0)) if there.size else float("nan"),
                count=int(there.size),
            )
        )
    return found


def ratio_interval(tops: np.ndarray, bottoms: np.ndarray) -> tuple[float, float] | None:
    """Returns the 95% bootstrap interval of sum(tops) / sum(bottoms), both [n]; None below two."""
    return _intervals(np.asarray(tops)[:, None], np.asarray(bottoms)[:, None])[0]


def _intervals(sums: np.ndarray, counts: np.ndarray) -> list[tuple[float, float] | None]:
    """Resamples rows; returns the interval of sum(sums) / sum(counts) for each column."""
    columns = sums.shape[1]
    units = int(np.max(np.count_nonzero(counts, axis=0), initial=0))
    if units < 2:
        return [None] * columns
    rng = np.random.default_rng(SEED)
    rows = len(sums)
    drawn = []
    for first in range(0, RESAMPLES, _AT_ONCE):
        size = min(_AT_ONCE, RESAMPLES - first)
        times = rng.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn.append((times @ sums) / (times @ counts))
    table = np.concatenate(drawn)
    tail = 100 * (1 - CONFIDENCE) / 2
    found: list[tuple[float, float] | None] = []
    for column in range(columns):
        # A resample may contain no counted image if there are few.
        means = table[np.isfinite(table[:, column]), column]
        if np.count_nonzero(counts[:, column]) < 2 or not means.size:
            found.append(None)
            continue
        low, high = np.percentile(means, (tail, 100 - tail))
        found.append((float(low), float(high)))
    return found
