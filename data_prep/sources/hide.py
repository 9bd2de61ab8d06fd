"""HIDE: 6,397 training and 2,025 test pairs of people, averaged from fast video.

In the published layout, one folder contains all sharp halves: `train/NAME.png`,
`test/test-close-ups/NAME.png` and `test/test-long-shot/NAME.png` with `GT/NAME.png`. The layout
`train|test/{input,target}/NAME.png` is recognized as well. Either split may be absent.

A name such as `12fromGOPR0950` contains the clip of an image; images with other names are scenes
of their own. Scenes are named `train/CLIP`, `test-close-ups/CLIP` and `test-long-shot/CLIP`, so
`--scenes 'test-close-ups/*'` builds one part of the test split. Clips that are in both splits of
the published set are kept in both, with a note.

The folders are from the documentation and scripts of several public repositories; the counts and
the form of the names are unverified. Not tested on the data set itself.

Reference: Shen et al., Human-Aware Motion Deblurring, 2019.
"""

import dataclasses
import re
from typing import Any

from data_prep.layouts.folders import pictures, skipped, stem, sub_folders, unrecognized
from data_prep.layouts.matching import Scene, folder_pairs, group
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.io import files

EXPECTED = (
    "train/NAME.png, test/test-close-ups/NAME.png and test/test-long-shot/NAME.png with "
    "GT/NAME.png, or train/input/NAME.png with train/target/NAME.png, or the same under test/"
)
# Split, first part of the scene names, folder of the blurred halves.
PARTS = (
    ("train", "train", "train"),
    ("test", "test-close-ups", "test/test-close-ups"),
    ("test", "test-long-shot", "test/test-long-shot"),
)
_CLIP = re.compile(r".*from(.+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the HIDE source."""

    source: str
    """folder that contains train, test and GT"""


def build(options: Options) -> "Hide":
    """Returns the source."""
    return Hide(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder; none if it is not HIDE."""
    if files.is_dir(files.join(root, "GT")):
        found = any(files.is_dir(files.join(root, folder)) for _, _, folder in PARTS)
        return [{"source": root}] if found else []
    for part in ("train", "test"):
        halves = [files.join(root, part, half) for half in ("input", "target")]
        if all(files.is_dir(half) for half in halves):
            stems = [stem(name) for name in pictures(halves[0])]
            if stems and all(_CLIP.fullmatch(name) for name in stems):
                return [{"source": root}]
    return []


class Hide(PairSource):
    """HIDE in its published layout, or as input and target."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        root = self._options.source
        target = files.join(root, "GT")
        scenes: list[Scene] = []
        if files.is_dir(target):
            layout = "published HIDE"
            places = [
                (split, part, files.join(root, folder), target) for split, part, folder in PARTS
            ]
        else:
            layout = "input/target HIDE"
            places = [
                (part, part, files.join(root, part, "input"), files.join(root, part, "target"))
                for part in ("train", "test")
            ]
        found = []
        unread = set(sub_folders(root)) if files.is_dir(root) else set()
        for split, part, blurred, sharp in places:
            if files.is_dir(blurred):
                found.append(part)
                unread -= {half[len(root) :].strip("/").split("/")[0] for half in (blurred, sharp)}
                # GT contains the sharp halves of all parts, some of which may be absent.
                pairs = folder_pairs(f"The part {part}", blurred, sharp, spare=sharp == target)
                named = {f"{part}/{name}": pair for name, pair in pairs.items()}
                scenes += group(split, named, _parse)
        if not scenes:
            raise unrecognized(root, EXPECTED)
        layout = f"{layout} ({', '.join(found)})"
        notes = [*skipped(unread), *_shared_clips(scenes)]
        return list_pairs(scenes, self._options, layout, notes)

    def describe_blur(self) -> dict[str, Any]:
        """Returns how the data set was blurred."""
        return describe_recorded("mean of 11 consecutive frames of 240 per second")


def _parse(name: str) -> tuple[str, str]:
    part, frame = name.split("/")
    match = _CLIP.fullmatch(frame)
    return f"{part}/{match[1] if match else frame}", frame


def _shared_clips(scenes: list[Scene]) -> list[str]:
    """Returns a note if clips are in both splits."""
    clips: dict[str, set[str]] = {"train": set(), "test": set()}
    for scene in scenes:
        clips[scene.split].add(scene.name.split("/", 1)[1])
    both = sorted(clips["train"] & clips["test"])
    if not both:
        return []
    return [
        f"Clips in both the train and the test split of the published set: {len(both)} "
        f"({', '.join(both[:5])}{', ...' if len(both) > 5 else ''})."
    ]
