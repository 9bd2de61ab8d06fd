"""Whole sets: pictures in two splits, a mixture of two kinds of blur, sizes, decibels."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.checks import measures
from data_prep.checks.findings import Finding
from data_prep.checks.pairs import Measure

# Bits of 64 in which the hashes of two nearly equal pictures may differ, and the correlation of
# their thumbnails that has to confirm it.
NEAR_BITS, NEAR_LIKENESS = 6, 0.985
# Standard deviation of a thumbnail below which pictures are too plain to be told apart by it.
PLAIN = 6.0
# Exponents of the tone that are taken for averages of stored values (genuine pairs of GoPro's blur
# measured 0.88 to 1.02) and of light (its blur_gamma 2.2, REDS 3.9 and more), and the least share
# of frames of the rarer kind that makes a mixture.
LINEAR_ABOVE, LINEAR_BELOW, GAMMA_ABOVE = 0.3, 1.4, 1.8
MIXED_SHARE = 0.02
# Share of pictures of one size above which others are odd.
USUAL_SHARE = 0.9
# Nearly equal pictures that are told one by one.
MOST_NEAR = 1000


@dataclasses.dataclass(frozen=True)
class Twin:
    """Two sharp pictures that are equal, or nearly so, in two splits."""

    first: str
    second: str
    bits: int


def check(found: Sequence[Measure]) -> tuple[list[Finding], list[Twin], list[str]]:
    """Returns what is wrong with a set, the pictures that are in two splits, and remarks."""
    findings, twins = duplicates(found)
    notes = []
    if sum(twin.bits > 0 for twin in twins) >= MOST_NEAR:
        notes.append(f"Nearly equal pictures are listed up to {MOST_NEAR}; there are more.")
    return [*findings, *mixture(found)], twins, notes


def duplicates(found: Sequence[Measure]) -> tuple[list[Finding], list[Twin]]:
    """Finds equal and nearly equal sharp pictures in different splits."""
    findings: list[Finding] = []
    twins: list[Twin] = []
    first: dict[str, Measure] = {}
    exact = set()
    for measure in found:
        if measure.flat:
            continue
        other = first.setdefault(measure.digest, measure)
        if other is measure:
            continue
        if other.split == measure.split:
            findings.append(Finding("duplicate-in-split", measure.key, f"It is {other.key}."))
            continue
        exact.add((other.key, measure.key))
        twins.append(Twin(_named(other), _named(measure), 0))
        said = f"It is in {measure.split}, and {other.key} in {other.split} is the same."
        findings.append(Finding("duplicate-across-splits", measure.key, said))
    for one, two, bits in _near(found):
        if (one.key, two.key) in exact or one.digest == two.digest:
            continue
        twins.append(Twin(_named(one), _named(two), bits))
        said = (
            f"It is in {two.split}, and {one.key} in {one.split} differs in {bits} of 64 bits of "
            "a perceptual hash."
        )
        findings.append(Finding("near-duplicate-across-splits", two.key, said))
    return findings, twins


def _named(measure: Measure) -> str:
    return f"{measure.split}: {measure.key}"


def _near(found: Sequence[Measure]) -> list[tuple[Measure, Measure, int]]:
    thumbs = [np.frombuffer(measure.thumb, np.uint8).astype(np.float32) for measure in found]
    kept = [i for i, thumb in enumerate(thumbs) if thumb.std() > PLAIN]
    splits: dict[str, list[int]] = {}
    for place in kept:
        splits.setdefault(found[place].split, []).append(place)
    names = list(splits)
    near = []
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            for a, b, bits in _close(found, splits[one], splits[two]):
                if measures.likeness(thumbs[a], thumbs[b]) > NEAR_LIKENESS:
                    near.append((found[a], found[b], bits))
                    if len(near) == MOST_NEAR:
                        return near
    return near


def _close(
    found: Sequence[Measure], ones: Sequence[int], twos: Sequence[int]
) -> Iterable[tuple[int, int, int]]:
    """Yields pairs of places whose hashes differ in few bits."""
    hashes = np.array([found[place].hash for place in ones], np.uint64)
    for place in twos:
        apart = _count_bits(hashes ^ np.uint64(found[place].hash))
        for near in np.flatnonzero(apart <= NEAR_BITS):
            yield ones[int(near)], place, int(apart[near])


_BITS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def _count_bits(values: np.ndarray) -> np.ndarray:
    # numpy.bitwise_count came with NumPy 2.
    return _BITS[values.view(np.uint16).reshape(-1, 4)].sum(1, dtype=np.uint8)


def mixture(found: Sequence[Measure]) -> list[Finding]:
    """Tells whether a set mixes averages of stored values with averages of light."""
    # A pair in which something else is wrong says nothing of the tone.
    sound = [m for m in found if not m.codes and not m.flat and not math.isinf(m.psnr or 0)]
    tones: dict[str, list[float]] = {}
    for measure in sound:
        if measure.tone is not None:
            tones.setdefault(measure.frame or measure.key, []).append(measure.tone)
    told = {name: float(np.median(values)) for name, values in tones.items()}
    linear = [name for name, tone in told.items() if LINEAR_ABOVE < tone < LINEAR_BELOW]
    gamma = [name for name, tone in told.items() if tone > GAMMA_ABOVE]
    if not linear or not gamma:
        return []
    fewer = min(linear, gamma, key=len)
    if len(fewer) < MIXED_SHARE * len(told):
        return []
    shown = ", ".join(fewer[:3]) + (", ..." if len(fewer) > 3 else "")
    said = (
        f"{len(linear)} pairs keep the mean of stored values and {len(gamma)} the mean of light "
        f"(2.2nd power); among the fewer: {shown}."
    )
    return [Finding("gamma-mixture", fewer[0], said)]


def sizes(splits: Mapping[str, Sequence[tuple[str, int, int]]]) -> list[Finding]:
    """Finds pictures of unusual size.

    Args:
        splits: Names, widths and heights of the pictures of each split.
    """
    findings = []
    for split, pictures in splits.items():
        counts = Counter((width, height) for _, width, height in pictures)
        if len(counts) < 2:
            continue
        (usual, most), *_ = counts.most_common(1)
        if most < USUAL_SHARE * len(pictures):
            listed = ", ".join(f"{w}x{h}" for (w, h), _ in counts.most_common(5))
            said = f"There are {len(counts)} sizes, most often {listed}."
            findings.append(Finding("sizes-vary", split, said))
            continue
        for name, width, height in pictures:
            if (width, height) != usual:
                said = f"It is {width}x{height}; most of {split} are {usual[0]}x{usual[1]}."
                findings.append(Finding("odd-size", name, said))
    return findings


def decibels(found: Sequence[Measure]) -> dict[str, Any]:
    """Returns how strong the blur is: count, mean, least, most, spread and a histogram by dB."""
    values = [m.psnr for m in found if m.psnr is not None and not math.isinf(m.psnr)]
    if not values:
        return {}
    first, last = math.floor(min(values)), math.floor(max(values)) + 1
    # Wide spreads are counted in wider steps.
    step = -(-(last - first) // 30)
    edges = list(range(first, last + step, step))
    counts, _ = np.histogram(values, edges)
    return {
        "pairs": len(values),
        "mean": float(np.mean(values)),
        "min": min(values),
        "max": max(values),
        "std": float(np.std(values)),
        "histogram": {"edges": edges, "counts": [int(count) for count in counts]},
    }
