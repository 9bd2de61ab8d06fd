"""One pair: are its halves of one scene, aligned, the right way round, of the same brightness.

The limits below were set on genuine pairs, the 8 of GoPro (1280x720) and the 4 and 40 of REDS
(1280x720 and 320x180) that were at hand: beside each limit stands what those measured. A limit
passes them all.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from data_prep.checks import measures
from data_prep.checks.findings import Finding
from data_prep.checks.pictures import Picture, examine
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Source
from tfdeblur.data.encoding import Encoding, decode_image
from tfdeblur.errors import DataError

# Pixels by which halves may lie off each other: at most 1.00. Parts of a frame move by more than
# the whole, so tiles are judged by the medians of their frame; crops of 256x256 measured up to 6.8.
MOST_SHIFT = 2.5
# How many times sharper the blurred half must be to be called swapped, or no softer: the sharp half
# was 1.25 to 9.1 times as sharp, 1.10 in the worst tile of 96x96.
SWAPPED, NOT_SOFTER = 1.25, 1.02
# Least correlation of the 16x16 thumbnails of two halves: at least 0.995, 0.65 in tiles of 96x96.
LEAST_LIKENESS = 0.4
# Levels, of 255, by which the mean brightness of halves may differ: at most 6.3 (REDS, whose frames
# were averaged in light).
MOST_BRIGHTNESS = 12.0
# Decibels above which there is next to no blur: at most 36.
NEARLY_IDENTICAL = 50.0
# Standard deviation in levels below which a picture shows nothing.
FLAT = 1.0
# Tiles of a frame from which on their median says something of its shift and brightness.
_ENOUGH_TILES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """What was measured of a pair, or of a sharp picture alone; the numbers of pairs are None then.

    Attributes:
        key: Name of the pair.
        split: Its split.
        psnr: Decibels between both halves; infinite for identical ones.
        shift: Pixels by which the blurred half lies off, down and to the right.
        softening: How many times sharper the sharp half is.
        brightness: Mean of the blurred half less that of the sharp one, in levels.
        tone: Exponent of the light in which the mean was kept, where it can be told.
        likeness: Correlation of the thumbnails of both halves.
        digest: Checksum of the sharp pixels.
        hash: Perceptual hash of the sharp half.
        thumb: Its thumbnail, uint8 [16 * 16] as bytes.
        flat: Whether the sharp half shows nothing.
        frame: Name of the frame, for a tile of it; else empty.
        codes: What was found to be wrong with the pair.
    """

    key: str
    split: str
    psnr: float | None
    shift: tuple[float, float] | None
    softening: float | None
    brightness: float | None
    tone: float | None
    likeness: float | None
    digest: str
    hash: int
    thumb: bytes
    flat: bool
    frame: str = ""
    codes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of looking at a pair or a file."""

    findings: tuple[Finding, ...]
    measure: Measure | None = None


def measure_pair(key: str, split: str, blurred: np.ndarray | None, sharp: np.ndarray) -> Measure:
    """Measures a pair, or a sharp picture alone.

    Args:
        key: Name of the pair.
        split: Its split.
        blurred: uint8 [h, w, 3], or None.
        sharp: uint8 [h, w, 3] of the same size.
    """
    clear = measures.luma(sharp)
    thumb = measures.thumbnail(clear)
    flat = float(clear.std()) < FLAT
    about: dict[str, Any] = dict.fromkeys(
        ("psnr", "shift", "softening", "brightness", "tone", "likeness")
    )
    if blurred is not None:
        soft = measures.luma(blurred)
        about = {
            "psnr": measures.psnr(blurred, sharp),
            "shift": None if flat else measures.shift(soft, clear),
            "softening": measures.softening(soft, clear),
            "brightness": float(soft.mean() - clear.mean()),
            "tone": measures.tone(blurred, sharp),
            "likeness": measures.likeness(measures.thumbnail(soft), thumb),
        }
    return Measure(
        key=key,
        split=split,
        digest=measures.digest(sharp),
        hash=measures.difference_hash(clear),
        thumb=np.round(thumb).astype(np.uint8).tobytes(),
        flat=flat,
        **about,
    )


def judge(name: str, measure: Measure) -> tuple[Measure, list[Finding]]:
    """Says what is wrong with a pair that was measured.

    Args:
        name: What findings call it.
        measure: Its measure.

    Returns:
        The measure with the codes of what is wrong, and the findings.
    """
    found = _judge(name, measure)
    return dataclasses.replace(measure, codes=tuple(f.code for f in found)), found


def _judge(name: str, measure: Measure) -> list[Finding]:
    assert measure.psnr is not None
    assert measure.softening is not None
    assert measure.likeness is not None
    if math.isinf(measure.psnr):
        return [Finding("identical-halves", name)]
    if measure.flat:
        return [Finding("flat-picture", name)]
    if measure.likeness < LEAST_LIKENESS:
        # What would be said of shift and sharpness means nothing then.
        return [Finding("unlike-halves", name, f"Their likeness is {measure.likeness:.2f} of 1.")]
    found = []
    if measure.brightness is not None and abs(measure.brightness) > MOST_BRIGHTNESS:
        said = f"The blurred half is brighter by {measure.brightness:+.1f} of 255 levels."
        found.append(Finding("brightness-differs", name, said))
    if measure.psnr > NEARLY_IDENTICAL:
        found.append(Finding("nearly-identical", name, f"Their PSNR is {measure.psnr:.1f} dB."))
        return found
    sharper = 1 / measure.softening
    if sharper > NOT_SOFTER:
        code = "swapped-halves" if sharper > SWAPPED else "blur-not-softer"
        said = f"The blurred half has {sharper:.2f} times the gradient energy of the sharp one."
        found.append(Finding(code, name, said))
    if measure.shift is not None and math.hypot(*measure.shift) > MOST_SHIFT:
        down, right = measure.shift
        said = (
            f"The blurred half lies {math.hypot(down, right):.2f} pixels off: {down:+.2f} down, "
            f"{right:+.2f} to the right."
        )
        found.append(Finding("misaligned", name, said))
    return found


def judge_frames(measured: Sequence[Measure]) -> tuple[list[Measure], list[Finding]]:
    """Judges frames by the medians of their tiles.

    Returns:
        All measures, those of tiles with the codes of what is wrong with their frame; and the
        findings.
    """
    frames: dict[tuple[str, str], list[Measure]] = {}
    for measure in measured:
        if measure.frame and measure.psnr is not None and not measure.flat:
            frames.setdefault((measure.split, measure.frame), []).append(measure)
    codes: dict[tuple[str, str], tuple[str, ...]] = {}
    findings = []
    for (split, frame), tiles in frames.items():
        whole, found = judge(f"{frame} in {split}", _middle(tiles))
        codes[split, frame] = whole.codes
        findings += found
    told = [
        dataclasses.replace(m, codes=codes.get((m.split, m.frame), ())) if m.frame else m
        for m in measured
    ]
    return told, findings


def _middle(tiles: Sequence[Measure]) -> Measure:
    """Returns the medians of the numbers of tiles."""

    def median(values: Iterable[float | None]) -> float:
        return float(np.median([value for value in values if value is not None]))

    enough = len(tiles) >= _ENOUGH_TILES
    shifts = [tile.shift for tile in tiles if tile.shift is not None]
    return dataclasses.replace(
        tiles[0],
        psnr=median(tile.psnr for tile in tiles),
        softening=median(tile.softening for tile in tiles),
        likeness=median(tile.likeness for tile in tiles),
        brightness=median(tile.brightness for tile in tiles) if enough else None,
        shift=(median(y for y, _ in shifts), median(x for _, x in shifts)) if enough else None,
    )


@dataclasses.dataclass(frozen=True)
class FileTask:
    """A picture that belongs to no pair that can be looked at."""

    path: str
    deep: bool

    def run(self) -> Outcome:
        """Looks at the file."""
        return Outcome(examine(self.path, self.deep).findings)


@dataclasses.dataclass(frozen=True)
class PairTask:
    """A pair of two files."""

    key: str
    split: str
    blurred: str
    sharp: str
    deep: bool

    def run(self) -> Outcome:
        """Looks at both files and, if both can be read, at the pair."""
        halves = [examine(path, self.deep) for path in (self.blurred, self.sharp)]
        findings = [finding for half in halves for finding in half.findings]
        if all(half.kind for half in halves):
            findings += self._compare_kinds(halves)
        blurred, sharp = (half.pixels for half in halves)
        if blurred is None or sharp is None:
            return Outcome(tuple(findings))
        if blurred.shape != sharp.shape:
            # The listing said so of their heads already, unless a file has changed since.
            return Outcome((*findings, Finding("size-differs", self.blurred)))
        measure = measure_pair(self.key, self.split, blurred, sharp)
        measure, judged = judge(self.blurred, measure)
        return Outcome((*findings, *judged), measure)

    def _compare_kinds(self, halves: list[Picture]) -> list[Finding]:
        # A blurred JPEG beside a sharp PNG is common; gray beside color is not.
        kinds = [half.kind.split()[1:] for half in halves]
        if kinds[0] == kinds[1]:
            return []
        shown = [half.kind for half in halves]
        said = f"The blurred half is {shown[0]}, the sharp one {shown[1]}."
        return [Finding("modes-differ", self.blurred, said)]


@functools.lru_cache(maxsize=1)
def _source(name: str, options: Any) -> Source:
    source: Source = REGISTRY.load(name).build(options)
    return source


def load_frame(name: str, options: Any, item: Item) -> np.ndarray:
    """Returns the sharp half of a frame that only its source can load.

    Raises:
        DataError: It cannot be read.
    """
    return _source(name, options).load(item)[1]


@dataclasses.dataclass(frozen=True)
class LoadTask:
    """A frame that only its source can load; its blurred half, if any, is the source's own work."""

    key: str
    split: str
    source: str
    options: Any
    item: Item

    def run(self) -> Outcome:
        """Looks at the sharp half."""
        try:
            sharp = load_frame(self.source, self.options, self.item)
        except DataError as error:
            return Outcome((Finding("damaged", self.item.sharp or self.key, str(error)),))
        return Outcome((), measure_pair(self.key, self.split, None, sharp))


@dataclasses.dataclass(frozen=True)
class PhotoTask:
    """A sharp photograph whose blur is yet to be made."""

    key: str
    split: str
    path: str
    deep: bool

    def run(self) -> Outcome:
        """Looks at the photograph."""
        picture = examine(self.path, self.deep)
        if picture.pixels is None:
            return Outcome(picture.findings)
        measure = measure_pair(self.key, self.split, None, picture.pixels)
        flat = (Finding("flat-picture", self.path),) if measure.flat else ()
        return Outcome((*picture.findings, *flat), measure)


@dataclasses.dataclass(frozen=True)
class RecordTask:
    """A record of a built set, its images still encoded."""

    key: str
    split: str
    place: str
    frame: str
    blurred: bytes
    sharp: bytes
    height: int
    width: int
    encoding: Encoding
    deep: bool
    recorded: bool

    def run(self) -> Outcome:
        """Decodes both halves and measures the pair; whole frames are judged at once.

        Blur that the build has made is right as it is: noise may make it no softer, and a draw of
        no blur at all may be meant.
        """
        if not self.deep:
            return Outcome(())
        try:
            blurred, sharp = (
                decode_image(data, self.height, self.width, self.encoding)
                for data in (self.blurred, self.sharp)
            )
        except DataError as error:
            return Outcome((Finding("shard-damaged", self.place, f"It holds {error}"),))
        measure = measure_pair(self.key, self.split, blurred, sharp)
        if not self.recorded:
            return Outcome((), measure)
        if self.frame:
            return Outcome((), dataclasses.replace(measure, frame=self.frame))
        measure, judged = judge(self.place, measure)
        return Outcome(tuple(judged), measure)


Task = FileTask | PairTask | LoadTask | PhotoTask | RecordTask


def run_task(task: Task) -> Outcome:
    """Runs a task; a function, so that other processes can be given it."""
    return task.run()
