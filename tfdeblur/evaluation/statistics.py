"""What is said of many values: mean, spread, and how sure a mean gain is."""

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95

# Resamples whose counts are held at once; 10,000 images then take 8 MB.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class Summary:
    """Some values in a few numbers; NaN where there is no value.

    Attributes:
        mean: Their mean.
        median: Half of them are below.
        deviation: Standard deviation around the mean, over the number of values minus one.
        low: Five in a hundred are below.
        high: Five in a hundred are above.
        least: The smallest.
        most: The largest.
        count: How many there are.
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
        """Summarizes values [n]; those that are NaN are left out."""
        found = np.asarray(values, np.float64)
        found = found[~np.isnan(found)]
        if not found.size:
            nothing = float("nan")
            return cls(nothing, nothing, nothing, nothing, nothing, nothing, nothing, 0)
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
        by_image: 95% bootstrap interval of that mean, images drawn one by one; None below two.
        by_scene: The same, whole scenes drawn: images of one scene are alike, so this one is
            wider, and tells more of other scenes. None below two scenes.
        share_better: Share of the images that became better, from 0 to 1.
        count: How many images have a difference.
    """

    mean: float
    by_image: tuple[float, float] | None
    by_scene: tuple[float, float] | None
    share_better: float
    count: int


def gains(differences: np.ndarray, scenes: Sequence[str], *, seed: int = SEED) -> list[Gain]:
    """Measures mean differences and how far they would move with other images.

    All columns share their resamples, so the same call gives the same intervals.

    Args:
        differences: [images, columns], positive where an image became better; NaN where there is
            nothing to compare, in whole rows or in single columns.
        scenes: The scene of each image.
        seed: Of the resampling.

    Returns:
        One for each column.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile
        intervals); whole scenes are drawn as in the cluster bootstrap.
    """
    values = np.asarray(differences, np.float64)
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0), known.astype(np.float64)
    names, places = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    member = np.zeros((len(names), len(values)))
    member[places, np.arange(len(values))] = 1
    by_image = _intervals(sums, counts, seed)
    by_scene = _intervals(member @ sums, member @ counts, seed)
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


def ratio_interval(
    tops: np.ndarray, bottoms: np.ndarray, *, seed: int = SEED
) -> tuple[float, float] | None:
    """Returns the 95% bootstrap interval of sum(tops) / sum(bottoms), both [n]; None below two."""
    return _intervals(np.asarray(tops)[:, None], np.asarray(bottoms)[:, None], seed)[0]


def _intervals(sums: np.ndarray, counts: np.ndarray, seed: int) -> list[tuple[float, float] | None]:
    """Resamples rows; returns for each column the interval of sum(sums) / sum(counts)."""
    columns = sums.shape[1]
    units = int(np.max(np.count_nonzero(counts, axis=0), initial=0))
    if units < 2:
        return [None] * columns
    rng = np.random.default_rng(seed)
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
        # A resample may hold no image that counts, when few do.
        means = table[np.isfinite(table[:, column]), column]
        if np.count_nonzero(counts[:, column]) < 2 or not means.size:
            found.append(None)
            continue
        low, high = np.percentile(means, (tail, 100 - tail))
        found.append((float(low), float(high)))
    return found
