"""Checks of whole data sets: duplicates across splits, mixed kinds of blur, image sizes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_prep.checks import measures
from data_prep.checks.findings import Finding
from data_prep.checks.measures import THUMB
from data_prep.checks.pairs import Measure
from data_prep.checks.report import Report, Twin
from data_prep.plan import size_text
from data_prep.sources.source import Item

# Near duplicates: maximum Hamming distance of the 64-bit hashes, and minimum correlation of the
# thumbnails.
NEAR_BITS, NEAR_CORRELATION = 6, 0.985
# Standard deviation of a thumbnail below which an image is too plain to be compared.
PLAIN = 6.0
# Ranges of the tone exponent for averages of pixel values (0.88 to 1.02 in real pairs of GoPro's
# blur) and of light (2.2 in its blur_gamma, 3.9 and more in REDS), and the minimum fraction of
# frames of the rarer kind for a mixture.
LINEAR_ABOVE, LINEAR_BELOW, GAMMA_ABOVE = 0.3, 1.4, 1.8
MIN_MIXED = 0.02
# Minimum fraction of images of one size for other sizes to be odd.
USUAL_FRACTION = 0.9
# Minimum correlation of the left and the right half of the thumbnail of a pair in one picture: at
# least 0.976 in 139 pairs of GoPro, REDS and Levin side by side. Of 443 photographs, 1.1 % exceed
# the limit (median 0.21, 95th percentile 0.77), so all images of a set must exceed it.
JOINED_CORRELATION = 0.9
# Maximum number of near duplicates that are listed.
MAX_NEAR = 1000


def check(report: Report, files: Mapping[str, str] | None = None) -> None:
    """Adds findings about the data set as a whole to its report.

    Args:
        report: The report.
        files: Files of the sharp images by key, if known; one file may have several copies.
    """
    findings, report.twins = duplicates(report.measures, files or {})
    report.found += [*findings, *mixture(report.measures)]
    if report.source == "sharp" and joined(report.measures):
        report.found.append(Finding("halves-in-one-picture", report.path))
    if sum(twin.bits > 0 for twin in report.twins) >= MAX_NEAR:
        report.notes.append(f"Only the first {MAX_NEAR} near duplicates are listed.")


def duplicates(
    found: Sequence[Measure], files: Mapping[str, str]
) -> tuple[list[Finding], list[Twin]]:
    """Finds identical and nearly identical sharp images that are not copies of one file."""
    findings: list[Finding] = []
    twins: list[Twin] = []
    first: dict[str, Measure] = {}
    for measure in found:
        if measure.flat:
            continue
        other = first.setdefault(measure.digest, measure)
        file = files.get(measure.key)
        if other is measure or (file and file == files.get(other.key)):
            continue
        if other.split == measure.split:
            detail = f"It is identical to {other.key}."
            findings.append(Finding("duplicate-in-split", measure.key, detail))
        else:
            twins.append(Twin(_title(other), _title(measure), 0))
            detail = f"It is in {measure.split}, and the identical {other.key} in {other.split}."
            findings.append(Finding("duplicate-across-splits", measure.key, detail))
    for one, two, bits in _near(found):
        if one.digest == two.digest:
            continue
        twins.append(Twin(_title(one), _title(two), bits))
        detail = (
            f"It is in {two.split}; its perceptual hash differs in {bits} of 64 bits from "
            f"{one.key} in {one.split}."
        )
        findings.append(Finding("near-duplicate-across-splits", two.key, detail))
    return findings, twins


def _title(measure: Measure) -> str:
    return f"{measure.split}: {measure.key}"


def _near(found: Sequence[Measure]) -> list[tuple[Measure, Measure, int]]:
    thumbs = [np.frombuffer(measure.thumb, np.uint8).astype(np.float32) for measure in found]
    splits: dict[str, list[int]] = {}
    for index, thumb in enumerate(thumbs):
        if thumb.std() > PLAIN:
            splits.setdefault(found[index].split, []).append(index)
    names = list(splits)
    near = []
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            for a, b, bits in _close(found, splits[one], splits[two]):
                if measures.correlation(thumbs[a], thumbs[b]) > NEAR_CORRELATION:
                    near.append((found[a], found[b], bits))
                    if len(near) == MAX_NEAR:
                        return near
    return near


def _close(
    found: Sequence[Measure], ones: Sequence[int], twos: Sequence[int]
) -> Iterable[tuple[int, int, int]]:
    """Yields pairs of indices whose hashes differ in few bits, with the number of bits."""
    hashes = np.array([found[index].hash for index in ones], np.uint64)
    for index in twos:
        # numpy.bitwise_count requires NumPy 2.
        differing = (hashes ^ np.uint64(found[index].hash)).view(np.uint8).reshape(-1, 8)
        distance = np.unpackbits(differing, axis=1).sum(axis=1)
        for near in np.flatnonzero(distance <= NEAR_BITS):
            yield ones[int(near)], index, int(distance[near])


def joined(found: Sequence[Measure]) -> bool:
    """Returns whether the left half of every image shows the same as the right half."""
    thumbs = [
        np.frombuffer(measure.thumb, np.uint8).reshape(THUMB, THUMB).astype(np.float32)
        for measure in found
        if not measure.flat
    ]
    return bool(thumbs) and all(
        measures.correlation(*np.hsplit(thumb, 2)) > JOINED_CORRELATION for thumb in thumbs
    )


def mixture(found: Sequence[Measure]) -> list[Finding]:
    """Finds data sets that mix averages of pixel values with averages of light."""
    tones: dict[str, list[float]] = {}
    for measure in found:
        # The tone of a pair with other problems is unreliable.
        sound = not measure.codes and not measure.flat and not math.isinf(measure.psnr or 0)
        if sound and measure.tone is not None:
            tones.setdefault(measure.frame or measure.key, []).append(measure.tone)
    medians = {name: float(np.median(values)) for name, values in tones.items()}
    linear = [name for name, tone in medians.items() if LINEAR_ABOVE < tone < LINEAR_BELOW]
    gamma = [name for name, tone in medians.items() if tone > GAMMA_ABOVE]
    fewer = min(linear, gamma, key=len)
    if not fewer or len(fewer) < MIN_MIXED * len(medians):
        return []
    shown = ", ".join(fewer[:3]) + (", ..." if len(fewer) > 3 else "")
    detail = (
        f"{len(linear)} pairs preserve the mean of pixel values and {len(gamma)} the mean of light "
        f"(gamma 2.2); the smaller group has {shown}."
    )
    return [Finding("gamma-mixture", fewer[0], detail)]


def sizes(splits: Mapping[str, Sequence[Item]]) -> list[Finding]:
    """Finds frames of unusual size in each split."""
    findings = []
    for split, items in splits.items():
        counts = Counter((item.height, item.width) for item in items)
        if len(counts) < 2:
            continue
        (usual, count), *_ = counts.most_common(1)
        if count < USUAL_FRACTION * len(items):
            listed = ", ".join(size_text(size) for size, _ in counts.most_common(5))
            detail = f"There are {len(counts)} sizes, most often {listed}."
            findings.append(Finding("sizes-vary", split, detail))
            continue
        for item in items:
            size = (item.height, item.width)
            if size != usual:
                detail = f"It is {size_text(size)}; most of {split} are {size_text(usual)}."
                findings.append(Finding("odd-size", item.sharp or item.key, detail))
    return findings
