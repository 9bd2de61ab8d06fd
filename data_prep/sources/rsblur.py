"""RSBlur: 8,878 training, 1,120 validation and 3,360 test pairs from a camera with two sensors.

The published layout is one folder for each image, in folders of sessions,
`RSBlur/0001/000022/real_blur/real_blur.png` with `RSBlur/0001/000022/gt/gt_sharp.png`. The lists
of the authors' repository, `RSBlur_real_train.txt`, `RSBlur_real_val.txt` and
`RSBlur_real_test.txt`, with the paths of the sharp and the blurred half on each line, are read from
the folder or from the one that contains it. The synthetic blur in `avg65_img` and the masks are not
read.

All three splits contain images of the same sessions. A scene is what the authors' lists never
divide: 20 consecutive numbers, from 2, 22, 42 and so on. It has the number of the first, so
`0001/000022` are the images 000022 to 000041 of session 0001.

The layout is from the documentation of the authors' repository, the counts and the scenes are from
its lists; not tested on the data set itself.

Reference: Rim et al., Realistic Blur Synthesis for Learning Image Deblurring, ECCV 2022.
"""

import dataclasses
import re
from typing import Any

from data_prep.layouts.folders import skipped, sub_folders, unrecognized
from data_prep.layouts.matching import group, match_halves
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.errors import DataError
from tfdeblur.io import files

BLURRED, SHARP = "real_blur/real_blur.png", "gt/gt_sharp.png"
EXPECTED = f"SESSION/NUMBER/{BLURRED} with SESSION/NUMBER/{SHARP}, or the same in RSBlur"
LISTS = {split: f"RSBlur_real_{split}.txt" for split in ("train", "val", "test")}
# Numbers of the first scene of a session, and of each scene.
_FIRST, _LENGTH = 2, 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the RSBlur source."""

    source: str
    """folder RSBlur, or the folder that contains it, with the authors' lists in either"""


def build(options: Options) -> "RSBlur":
    """Returns the source."""
    return RSBlur(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder; none if it is not RSBlur."""
    return [{"source": root}] if _folder(root) else []


class RSBlur(PairSource):
    """RSBlur's real pairs in their published layout."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        options = self._options
        root = options.source
        folder = _folder(root)
        if not folder:
            raise unrecognized(root, EXPECTED)
        sessions = _numbers(folder, 4)
        halves: dict[str, dict[str, str]] = {BLURRED: {}, SHARP: {}}
        for session in sessions:
            for number in _numbers(files.join(folder, session), 6):
                for half, found in halves.items():
                    path = files.join(folder, session, number, half)
                    if files.exists(path):
                        found[f"{session}/{number}"] = path
        blurred, sharp = halves.values()

        def path_of(half: str, name: str) -> str:
            return files.join(folder, name, SHARP if half == "sharp" else BLURRED)

        names = match_halves(blurred, sharp, path_of)
        scenes = group("train", {name: (blurred[name], sharp[name]) for name in names}, _parse)
        if not scenes:
            raise unrecognized(root, EXPECTED)
        unread = set(sub_folders(folder)) - set(sessions)
        return list_pairs(scenes, options, "published RSBlur", skipped(unread), self._lists(folder))

    def describe_blur(self) -> dict[str, Any]:
        """Returns how the blur was recorded."""
        return describe_recorded("two sensors behind one lens, long and short exposure")

    def _lists(self, folder: str) -> dict[str, str] | None:
        """Returns the authors' lists by split, next to the sessions or one folder above."""
        for place in (folder, files.parent(folder)):
            lists = {split: files.join(place, name) for split, name in LISTS.items()}
            if all(files.exists(path) for path in lists.values()):
                return lists
        options = self._options
        if not (options.lists() or options.test_scenes or options.test_share):
            raise DataError(
                f"{folder} and the folder above it do not contain {', '.join(LISTS.values())}, so "
                "the test images are unknown. Fetch the lists from the authors' repository "
                "(rimchang/RSBlur, datalist/RSBlur), or set --test-scenes, --test-list or "
                "--test-share."
            )
        return None


def _folder(root: str) -> str:
    """Returns the folder of the sessions: this one or RSBlur in it; empty if there is none."""
    for place in (root, files.join(root, "RSBlur")):
        if files.is_dir(place) and any(
            _numbers(files.join(place, session), 6) for session in _numbers(place, 4)
        ):
            return place
    return ""


def _numbers(folder: str, digits: int) -> list[str]:
    """Returns the names of the folders in a folder that are numbers of so many digits."""
    return [name for name in sub_folders(folder) if re.fullmatch(rf"[0-9]{{{digits}}}", name)]


def _parse(name: str) -> tuple[str, str]:
    """Returns the scene and the frame of `SESSION/NUMBER`."""
    session, number = name.split("/")
    first = _FIRST + (int(number) - _FIRST) // _LENGTH * _LENGTH
    return f"{session}/{max(first, 0):06d}", number
