"""GoPro (GOPRO_Large): 2,103 training and 1,111 test pairs of 1280x720 from a fast camera.

Three layouts are recognized, and the one that was found is said. Native is
`train|test/SCENE/{blur,blur_gamma,sharp}/FRAME.png`. Flattened is
`train|test/{blur,blur_gamma,sharp}/SCENE-FRAME.png`, with a hyphen or an underscore. The third is
`train|test/{input,target}/SCENE-FRAME.png`. Either split may be absent, and each may have a layout
of its own. The set has no validation split, so one is made of training scenes; a folder `val`
beside `train` is used where there is one.

Both kinds of blur are averages of consecutive sharp frames. Those in `blur` were averaged as they
are, as if the camera's response were linear; their pixels have the mean of the sharp ones. Those
in `blur_gamma` were turned to linear light by a gamma of 2.2, averaged, and turned back, so lights
leave brighter traces. Most published results use `blur` (the default here); the paper that brought
the set uses `blur_gamma`. Scores on one say nothing about the other, so the manifest records which.
The folder `input` does not say which blur it holds; its copies in circulation are said to hold
`blur`.

The native layout was tried on the real set. The names of the other two were seen in the
documentation of several public repositories.

Reference: Nah et al., Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring,
2017, section 2.
"""

import dataclasses
import functools
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from data_prep.layouts.folders import pictures, stem, sub_folders, unrecognized
from data_prep.layouts.halves import Scene, folder_pairs, group
from data_prep.layouts.pairs import (
    SPLITS,
    PairOptions,
    PairSource,
    describe_recorded,
    list_pairs,
)
from data_prep.sources.source import Listing
from tfdeblur.errors import DataError

EXPECTED = (
    "train/SCENE/blur/FRAME.png with train/SCENE/sharp/FRAME.png (native), "
    "train/blur/SCENE-FRAME.png with train/sharp/ (flattened) or train/input/SCENE-FRAME.png with "
    "train/target/, or the same under test/"
)
FOLDERS = {"linear": "blur", "gamma": "blur_gamma"}
HOW = {
    "linear": "mean of consecutive frames as they are (linear camera response)",
    "gamma": "mean of consecutive frames in linear light (gamma 2.2)",
}
# GoPro's own names first; any other name is parted before its last number. A crop of a frame ends
# in its own number (_s001).
_NAMES = (
    re.compile(r"(GOPR\d+_\d+_\d+[a-z]?)[-_](.+)"),
    re.compile(r"(.+)[-_](\d+(?:_s\d+)?)"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the GoPro source."""

    source: Annotated[str, Field(description="folder that holds train and test")]
    gamma: Annotated[
        Literal["linear", "gamma"],
        Field(description="which blur: linear reads the folders blur, gamma blur_gamma"),
    ] = "linear"


def build(options: Options) -> "GoPro":
    """Returns the source."""
    return GoPro(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read what lies in a folder, best first; none if it is no GoPro."""
    from tfdeblur.io import files

    there = set()
    for split in SPLITS:
        place = files.join(root, split)
        names = sub_folders(place) if files.is_dir(place) else []
        flat = [name for name in (*FOLDERS.values(), "input") if name in names]
        if flat and {"sharp", "target"} & set(names):
            # Only names that say their scene make it GoPro.
            stems = [stem(name) for name in pictures(files.join(place, flat[0]))]
            if stems and all(any(p.fullmatch(name) for p in _NAMES) for name in stems):
                there |= set(flat)
            continue
        for name in names:
            inside = set(sub_folders(files.join(place, name)))
            # One of the two may be missing, which is for the listing to say.
            there |= inside & {*FOLDERS.values(), "sharp"}
    kinds = [gamma for gamma, folder in FOLDERS.items() if folder in there]
    if not kinds and there:
        kinds = ["linear"]
    return [{"source": root, "gamma": gamma} for gamma in kinds]


class GoPro(PairSource):
    """GoPro in its native layout, flattened, or as input and target."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        from tfdeblur.io import files

        root, gamma = self._options.source, self._options.gamma
        scenes: list[Scene] = []
        found: dict[str, list[str]] = {}
        for split in SPLITS:
            place = files.join(root, split)
            if files.is_dir(place):
                layout, here = _scenes(place, split, FOLDERS[gamma])
                if here:
                    scenes += here
                    found.setdefault(layout, []).append(split)
        if not scenes:
            raise unrecognized(root, EXPECTED)
        notes = []
        if "input/target" in found:
            notes.append(
                f"The folder input does not say which of GoPro's two blurs it holds; it is "
                f"recorded as {gamma} (--gamma)."
            )
        layouts = "; ".join(f"{name} GoPro ({', '.join(at)})" for name, at in found.items())
        return list_pairs(scenes, self._options, layouts, notes)

    def describe_blur(self) -> dict[str, Any]:
        """Returns which of GoPro's two kinds of blur this is."""
        gamma = self._options.gamma
        return describe_recorded(HOW[gamma], gamma=gamma, folder=FOLDERS[gamma])


def _scenes(place: str, split: str, folder: str) -> tuple[str, list[Scene]]:
    """Returns the layout of one split and its scenes."""
    from tfdeblur.io import files

    names = sub_folders(place)
    for layout, blurred, sharp, marks in (
        ("flattened", folder, "sharp", set(FOLDERS.values())),
        ("input/target", "input", "target", {"input"}),
    ):
        if sharp in names and marks & set(names):
            halves = files.join(place, blurred), files.join(place, sharp)
            pairs = folder_pairs(f"The split {split}", *halves)
            return layout, group(split, pairs, functools.partial(_parse, halves[0]))
    scenes = []
    for name in names:
        scene = files.join(place, name)
        scenes.append(Scene(name, split, files.join(scene, folder), files.join(scene, "sharp")))
    return "native", scenes


def _parse(folder: str, name: str) -> tuple[str, str]:
    for pattern in _NAMES:
        match = pattern.fullmatch(name)
        if match:
            return match[1], match[2]
    raise DataError(
        f"{folder}/{name} does not say which scene it belongs to. Expected SCENE-FRAME.png, such "
        "as GOPR0372_07_00-000047.png."
    )
