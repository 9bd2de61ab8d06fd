"""REDS: 24,000 training and 3,000 validation pairs of 1280x720, 100 frames per scene.

The layout is `train_blur/SCENE/FRAME.png` with `train_sharp/SCENE/FRAME.png`, and the same with
`val_`; `*_bicubic/X4` is the set at a quarter of the size. The sharp images of the official test
split were never published, so the official validation split is used as the test split, as is
customary, and some training scenes as the validation split. Scenes are named `train/000` and
`val/000`, since the numbers occur in both.

Reference: Nah et al., NTIRE 2019 Challenge on Video Deblurring and Super-Resolution. Use of the
splits: Orlandi and Pinardi.
"""

import dataclasses
from typing import Any, Literal

from data_prep.layouts.folders import skipped, sub_folders, unrecognized
from data_prep.layouts.matching import Scene
from data_prep.layouts.pairs import PairOptions, PairSource, describe_recorded, list_pairs
from data_prep.sources.source import Listing
from tfdeblur.io import files

# The folders of each track: blurred and sharp halves.
TRACKS = {
    "blur": ("blur", "sharp"),
    "blur_comp": ("blur_comp", "sharp"),
    "blur_jpeg": ("blur_jpeg", "sharp"),
    "blur_bicubic": ("blur_bicubic/X4", "sharp_bicubic/X4"),
}
SPLITS = {"train": "train", "val": "test"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PairOptions):
    """Options of the REDS source."""

    source: str
    """folder with train_blur, train_sharp and so on"""
    track: Literal["blur", "blur_comp", "blur_jpeg", "blur_bicubic"] = "blur"
    """which blurred images: plain, compressed, or at a quarter of the size"""


def build(options: Options) -> "Reds":
    """Returns the source."""
    return Reds(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a folder, best first; none if it is not REDS."""
    return [
        {"source": root, "track": track}
        for track, (blurred, _) in TRACKS.items()
        if any(
            files.is_dir(files.join(place, f"{part}_{blurred}"))
            for part in SPLITS
            for place in (root, files.join(root, part))
        )
    ]


class Reds(PairSource):
    """REDS in its original layout."""

    _options: Options

    def listing(self) -> Listing:
        """Lists all pairs; see `Source.listing`."""
        root = self._options.source
        blurred, sharp = TRACKS[self._options.track]
        scenes: list[Scene] = []
        layouts = []
        unread = set(sub_folders(root)) if files.is_dir(root) else set()
        for part, split in SPLITS.items():
            # The archives unpack to train_blur or, for several tracks, to train/train_blur.
            for place in (root, files.join(root, part)):
                halves = [files.join(place, f"{part}_{half}") for half in (blurred, sharp)]
                if files.is_dir(halves[0]):
                    present = [half for half in halves if files.is_dir(half)]
                    names = {name for half in present for name in sub_folders(half)}
                    scenes += [
                        Scene(
                            f"{part}/{name}",
                            split,
                            files.join(halves[0], name),
                            files.join(halves[1], name),
                        )
                        for name in sorted(names)
                    ]
                    unread -= {half[len(root) :].strip("/").split("/")[0] for half in present}
                    layouts.append(files.join(place, f"{part}_{blurred}")[len(root) :].strip("/"))
                    break
        if not scenes:
            raise unrecognized(
                root,
                f"train_{blurred}/SCENE/FRAME.png with train_{sharp}/SCENE/FRAME.png, or the same "
                "with val_",
            )
        layout = f"native REDS, track {self._options.track} ({' and '.join(layouts)})"
        return list_pairs(scenes, self._options, layout, skipped(unread))

    def describe_blur(self) -> dict[str, Any]:
        """Returns the track."""
        return describe_recorded(
            "mean of consecutive and interpolated frames in linear light, by the camera response "
            "function",
            track=self._options.track,
        )
