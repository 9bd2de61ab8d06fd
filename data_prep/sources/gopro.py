"""GoPro (GOPRO_Large): 2,103 training and 1,111 test pairs of 1280x720 from a high-speed camera.

Three layouts are recognized: native, `train|test/SCENE/{blur,blur_gamma,sharp}/FRAME.png`;
flattened, `train|test/{blur,blur_gamma,sharp}/SCENE-FRAME.png`, with a hyphen or an underscore; and
`train|test/{input,target}/SCENE-FRAME.png`, also below `train/GoPro` as in MPRNet and Restormer.
Either split may be absent, and each may have its own layout. The data set has no validation split,
so some training scenes are used; if there is a folder `val` or `valid` next to `train`, it is used
instead. The case of the names of splits does not matter. A note lists the folders that are not
read.

Both kinds of blur are averages of consecutive sharp frames. In `blur`, pixel values were averaged,
as if the camera response were linear; their mean is that of the sharp frames. In `blur_gamma`,
frames were converted to linear light by a gamma of 2.2, averaged, and converted back, so lights
leave brighter traces. Most published results use `blur` (the default here); the paper of the data
set uses `blur_gamma`. Scores on one do not carry over to the other, so the manifest records which.
The name of the folder `input` does not tell which blur it contains; common copies contain `blur`.

The native layout was tested on the real data set. The names of the others are from the
documentation of several public repositories.

Reference: Nah et al., Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring,
2017, section 2.
"""

import dataclasses
import functools
import re
from typing import Any, Literal

from data_prep.layouts.folders import pictures, skipped, stem, sub_folders, unrecognized
from data_prep.layouts.matching import Scene, folder_pairs, group
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.layouts.splits import split_folders
from data_prep.sources.source import Listing
from tfdeblur.errors import DataError
from tfdeblur.io import files

EXPECTED = (
    "train/SCENE/blur/FRAME.png with train/SCENE/sharp/FRAME.png (native), "
    "train/blur/SCENE-FRAME.png with train/sharp/ (flattened) or train/input/SCENE-FRAME.png with "
    "train/target/, or the same under test/"
)
FOLDERS = {"linear": "blur", "gamma": "blur_gamma"}
HALVES = (*FOLDERS.values(), "sharp", "input", "target")
HOW = {
    "linear": "mean of the pixel values of consecutive frames (linear camera response)",
    "gamma": "mean of consecutive frames in linear light (gamma 2.2)",
}
# GoPro's own names first; other names are split before the last number. A crop of a frame has an
# additional number (_s001).
_NAMES = (
    re.compile(r"(GOPR\d+_\d+_\d+[a-z]?)[-_](.+)"),
    re.compile(r"(.+)[-_](\d+(?:_s\d+)?)"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the GoPro source."""

    source: str
    """folder that contains train and test"""
    gamma: Literal["linear", "gamma"] = "linear"
    """which blur: linear reads folders blur, gamma reads blur_gamma"""


def build(options: Options) -> "GoPro":
    """Returns the source."""
    return GoPro(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder, best first; none if it is not GoPro."""
    present = set()
    for place in _places(root).values():
        names = sub_folders(place)
        flat = [name for name in (*FOLDERS.values(), "input") if name in names]
        if flat and {"sharp", "target"} & set(names):
            # It is GoPro only if the names contain their scene.
            stems = [stem(name) for name in pictures(files.join(place, flat[0]))]
            if stems and all(any(p.fullmatch(name) for p in _NAMES) for name in stems):
                present |= set(flat)
            continue
        for name in names:
            inside = set(sub_folders(files.join(place, name)))
            # If one half is missing, the listing reports it.
            present |= inside & {*FOLDERS.values(), "sharp"}
    kinds = [gamma for gamma, folder in FOLDERS.items() if folder in present]
    if not kinds and present:
        kinds = ["linear"]
    return [{"source": root, "gamma": gamma} for gamma in kinds]


class GoPro(PairSource):
    """GoPro in its native layout, flattened, or as input and target."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        root, gamma = self._options.source, self._options.gamma
        scenes: list[Scene] = []
        found: dict[str, list[str]] = {}
        places = _places(root)
        unread = set(sub_folders(root)) if files.is_dir(root) else set()
        for split, place in places.items():
            name = split_folders(root)[split]
            unread.discard(name)
            inside = place[len(root) :].strip("/")
            if inside != name:
                folder = files.join(root, name)
                unread |= {f"{name}/{other}" for other in sub_folders(folder)} - {inside}
            layout, here = _scenes(place, split, FOLDERS[gamma])
            if layout != "native":
                unread |= {f"{inside}/{n}" for n in sub_folders(place) if n not in HALVES}
            if here:
                scenes += here
                found.setdefault(layout, []).append(split)
        if not scenes:
            raise unrecognized(root, EXPECTED)
        notes = skipped(unread)
        if "input/target" in found:
            notes.append(
                f"The name of the folder input does not tell which of GoPro's two blurs it "
                f"contains; it is recorded as {gamma} (--gamma)."
            )
        layouts = "; ".join(f"{name} GoPro ({', '.join(at)})" for name, at in found.items())
        return list_pairs(scenes, self._options, layouts, notes)

    def describe_blur(self) -> dict[str, Any]:
        """Returns which of the two kinds of blur is used."""
        gamma = self._options.gamma
        return describe_recorded(HOW[gamma], gamma=gamma, folder=FOLDERS[gamma])


def _places(root: str) -> dict[str, str]:
    """Returns the folder with the images or scenes of each split."""
    places = {}
    for split, name in split_folders(root).items():
        place = files.join(root, name)
        below = [other for other in sub_folders(place) if other.lower() == "gopro"]
        places[split] = files.join(place, below[0]) if below else place
    return places


def _scenes(place: str, split: str, folder: str) -> tuple[str, list[Scene]]:
    """Returns the layout of one split and its scenes."""
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
        f"{folder}/{name} does not contain the name of its scene. Expected SCENE-FRAME.png, such "
        "as GOPR0372_07_00-000047.png."
    )
