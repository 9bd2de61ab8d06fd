"""Checks of a pair: same scene, alignment, order of the halves, brightness.

The limits were set on the real pairs that were available: 8 of GoPro (1280x720), and 4 (1280x720)
and 40 (320x180) of REDS. The comment of each limit gives their measured values, all of which pass.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from data_prep import images
from data_prep.checks import measures
from data_prep.checks.findings import Finding
from data_prep.checks.pictures import examine
from data_prep.faults import Fault
from data_prep.frames import kept_source
from data_prep.layouts.pairs import PairSource
from data_prep.sources.source import Item
from tfdeblur.data.encoding import Encoding, decode_image
from tfdeblur.errors import DataError

# Shift between the halves in pixels: at most 1.00. Parts of a frame move more than the whole (up
# to 6.8 in crops of 256x256), so tiles are checked by the median over their frame.
MAX_SHIFT = 2.5
# Sharpness of the blurred half relative to the sharp half. The sharp half was 1.25 to 9.1 times as
# sharp, and 1.10 times in the worst tile of 96x96.
SWAPPED, NOT_SOFTER = 1.25, 1.02
# Correlation of the 16x16 thumbnails of both halves: at least 0.995, and 0.65 in tiles of 96x96.
MIN_CORRELATION = 0.4
# Difference of mean brightness in 8-bit levels: at most 6.3 (REDS, averaged in linear light).
MAX_BRIGHTNESS = 12.0
# PSNR in dB between the halves: at most 36.
NEARLY_IDENTICAL = 50.0
# Standard deviation, in 8-bit levels, below which an image is uniform.
FLAT = 1.0
# Minimum number of tiles for the medians of shift and brightness over a frame.
_MIN_TILES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """Measurements of a pair, or of a sharp image alone.

    Attributes:
        key: Name of the pair.
        split: Its split.
        digest: Checksum of the sharp pixels.
        hash: Perceptual hash of the sharp half.
        thumb: Thumbnail of the sharp half, uint8 [16 * 16] as bytes.
        flat: Whether the sharp half is uniform.
        psnr: PSNR between the halves in dB, infinite if identical; None for a sharp image alone,
            like the next five.
        softening: Sharpness of the sharp half relative to the blurred half.
        correlation: Correlation of the thumbnails of both halves.
        brightness: Mean of the blurred half minus that of the sharp half, in 8-bit levels.
        shift: Displacement of the blurred half in pixels, down and right.
        tone: Exponent of the light in which the mean is preserved, if it can be measured.
        frame: Name of the frame if this is a tile of it; else empty.
        codes: Codes of the findings of the pair.
    """

    key: str
    split: str
    digest: str
    hash: int
    thumb: bytes
    flat: bool
    psnr: float | None = None
    softening: float | None = None
    correlation: float | None = None
    brightness: float | None = None
    shift: tuple[float, float] | None = None
    tone: float | None = None
    frame: str = ""
    codes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a task."""

    findings: tuple[Finding, ...]
    measure: Measure | None = None


def measure_pair(key: str, split: str, blurred: np.ndarray | None, sharp: np.ndarray) -> Measure:
    """Measures a pair, or a sharp image alone.

    Args:
        key: Name of the pair.
        split: Its split.
        blurred: uint8 [h, w, 3], or None.
        sharp: uint8 [h, w, 3] of the same size.
    """
    sharp_luma = measures.luma(sharp)
    thumb = measures.thumbnail(sharp_luma)
    alone = Measure(
        key=key,
        split=split,
        digest=measures.digest(sharp),
        hash=measures.difference_hash(sharp_luma),
        thumb=np.round(thumb).astype(np.uint8).tobytes(),
        flat=float(sharp_luma.std()) < FLAT,
    )
    if blurred is None:
        return alone
    blurred_luma = measures.luma(blurred)
    return dataclasses.replace(
        alone,
        psnr=measures.psnr(blurred, sharp),
        softening=measures.softening(blurred_luma, sharp_luma),
        correlation=measures.correlation(measures.thumbnail(blurred_luma), thumb),
        brightness=float(blurred_luma.mean() - sharp_luma.mean()),
        shift=None if alone.flat else measures.shift(blurred_luma, sharp_luma),
        tone=measures.tone(blurred, sharp),
    )


def check_pair(name: str, measure: Measure) -> Outcome:
    """Checks the measurements of a pair.

    Args:
        name: Name of the pair in findings.
        measure: Its measurements.

    Returns:
        The findings, and the measurements with their codes.
    """
    findings = tuple(_findings(name, measure))
    codes = tuple(finding.code for finding in findings)
    return Outcome(findings, dataclasses.replace(measure, codes=codes))


def _findings(name: str, measure: Measure) -> Iterable[Finding]:
    assert measure.psnr is not None
    assert measure.softening is not None
    assert measure.correlation is not None
    if math.isinf(measure.psnr):
        yield Finding("identical-halves", name)
        return
    if measure.flat:
        yield Finding("flat-picture", name)
        return
    if measure.correlation < MIN_CORRELATION:
        # Shift and sharpness are meaningless then.
        yield Finding("unlike-halves", name, f"Their correlation is {measure.correlation:.2f}.")
        return
    if measure.brightness is not None and abs(measure.brightness) > MAX_BRIGHTNESS:
        detail = f"The blurred half is brighter by {measure.brightness:+.1f} of 255 levels."
        yield Finding("brightness-differs", name, detail)
    if measure.psnr > NEARLY_IDENTICAL:
        yield Finding("nearly-identical", name, f"Their PSNR is {measure.psnr:.1f} dB.")
        return
    sharper = 1 / measure.softening
    if sharper > NOT_SOFTER:
        code = "swapped-halves" if sharper > SWAPPED else "blur-not-softer"
        detail = f"The blurred half has {sharper:.2f} times the gradient energy of the sharp half."
        yield Finding(code, name, detail)
    if measure.shift is not None and math.hypot(*measure.shift) > MAX_SHIFT:
        down, right = measure.shift
        detail = (
            f"The blurred half is shifted by {math.hypot(down, right):.2f} pixels: {down:+.2f} "
            f"down, {right:+.2f} right."
        )
        yield Finding("misaligned", name, detail)


def check_frames(measured: Sequence[Measure]) -> tuple[list[Measure], list[Finding]]:
    """Checks frames by the medians over their tiles.

    Returns:
        All measurements, those of tiles with the codes of their frame; and the findings.
    """
    frames: dict[tuple[str, str], list[Measure]] = {}
    for measure in measured:
        if measure.frame and measure.psnr is not None and not measure.flat:
            frames.setdefault((measure.split, measure.frame), []).append(measure)
    codes: dict[tuple[str, str], tuple[str, ...]] = {}
    findings: list[Finding] = []
    for (split, frame), tiles in frames.items():
        outcome = check_pair(f"{frame} in {split}", _median(tiles))
        codes[split, frame] = tuple(finding.code for finding in outcome.findings)
        findings += outcome.findings
    checked = [
        dataclasses.replace(m, codes=codes.get((m.split, m.frame), ())) if m.frame else m
        for m in measured
    ]
    return checked, findings


def _median(tiles: Sequence[Measure]) -> Measure:
    """Returns the medians of the measurements of tiles."""

    def median(values: Iterable[float | None]) -> float:
        return float(np.median([value for value in values if value is not None]))

    enough = len(tiles) >= _MIN_TILES
    shifts = [tile.shift for tile in tiles if tile.shift is not None]
    return dataclasses.replace(
        tiles[0],
        psnr=median(tile.psnr for tile in tiles),
        softening=median(tile.softening for tile in tiles),
        correlation=median(tile.correlation for tile in tiles),
        brightness=median(tile.brightness for tile in tiles) if enough else None,
        shift=(median(y for y, _ in shifts), median(x for _, x in shifts)) if enough else None,
    )


# Examines a part of a data set; can be sent to another process.
Task = Callable[[], Outcome]


def examine_image(path: str, deep: bool, key: str = "", split: str = "") -> Outcome:
    """Examines an image file: a sharp photograph, or (without key) one that is in no pair."""
    picture = examine(path, deep)
    if picture.pixels is None or not key:
        return Outcome(picture.findings)
    measure = measure_pair(key, split, None, picture.pixels)
    flat = (Finding("flat-picture", path),) if measure.flat else ()
    return Outcome((*picture.findings, *flat), measure)


def examine_pair(blurred_path: str, sharp_path: str, deep: bool, key: str, split: str) -> Outcome:
    """Examines both files of a pair and, if both are readable, the pair."""
    halves = [examine(path, deep) for path in (blurred_path, sharp_path)]
    findings = [finding for half in halves for finding in half.findings]
    kinds = [half.kind for half in halves]
    # A blurred JPEG with a sharp PNG is common; gray with color is not.
    if all(kinds) and kinds[0].split()[1:] != kinds[1].split()[1:]:
        detail = f"The blurred half is {kinds[0]}, the sharp half {kinds[1]}."
        findings.append(Finding("modes-differ", blurred_path, detail))
    blurred, sharp = (half.pixels for half in halves)
    if blurred is None or sharp is None:
        return Outcome(tuple(findings))
    if blurred.shape != sharp.shape:
        # The listing has compared the sizes in the headers; the file has changed since.
        return Outcome((*findings, Finding("size-differs", blurred_path)))
    checked = check_pair(blurred_path, measure_pair(key, split, blurred, sharp))
    return Outcome((*findings, *checked.findings), checked.measure)


def load_frame(name: str, options: Any, item: Item) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns both halves of a frame; the blurred half is None if it is not recorded.

    Raises:
        DataError: It is unreadable.
    """
    source = kept_source(name, options)
    blurred, sharp = source.load(item)
    return (blurred if isinstance(source, PairSource) else None), sharp


def examine_frame(
    load: Callable[[Item], tuple[np.ndarray | None, np.ndarray]], item: Item, key: str, split: str
) -> Outcome:
    """Examines a frame that only its source can load, and the pair if the blur is recorded."""
    picture = examine(item.sharp, deep=False).findings if images.is_picture(item.sharp) else ()
    try:
        blurred, sharp = load(item)
    except DataError as error:
        code = error.code if isinstance(error, Fault) else "unreadable"
        return Outcome((*picture, Finding(code, item.sharp or key, str(error))))
    measure = measure_pair(key, split, blurred, sharp)
    if blurred is None:
        return Outcome(picture, measure)
    checked = check_pair(item.sharp, measure)
    return Outcome((*picture, *checked.findings), checked.measure)


def examine_record(
    halves: tuple[bytes, bytes],
    size: tuple[int, int],
    encoding: Encoding,
    key: str,
    split: str,
    *,
    place: str,
    frame: str,
    recorded: bool,
) -> Outcome:
    """Decodes a record of a built data set and measures the pair; checks it if it is whole.

    Args:
        halves: The encoded blurred and sharp image.
        size: Height and width of the images.
        encoding: Their encoding.
        key: Name of the pair.
        split: Its split.
        place: The shard and the index of the record.
        frame: The frame of which the pair is a tile; empty for a whole frame.
        recorded: Whether the blur was recorded. Synthetic blur is not checked: noise may make it
            sharper, and a kernel may be the identity.
    """
    try:
        blurred, sharp = (decode_image(data, *size, encoding) for data in halves)
    except DataError as error:
        return Outcome((Finding("shard-damaged", place, f"Cannot be decoded: {error}"),))
    measure = measure_pair(key, split, blurred, sharp)
    if not recorded:
        return Outcome((), measure)
    if frame:
        return Outcome((), dataclasses.replace(measure, frame=frame))
    return check_pair(place, measure)
