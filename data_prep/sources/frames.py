"""Clips of sharp frames (folders or video files), blurred by averaging consecutive frames.

Every folder of pictures below `--source`, and every video file, is a clip, and every clip is a
scene. A window of frames is averaged in linear light, as light adds up in a camera, and its middle
frame is the truth. The number of frames is drawn for each window, from `--window`.

Averaging assumes that things move by little from frame to frame, as they do at 240 frames a second.
At 24 to 30 a moving edge leaves separate copies of itself, ghosts, and not a blur. So the motion is
measured in every clip, and where it is more than `--max-motion` pixels the build says so.
`--interpolate N` puts N frames between any two by optical flow: the window then counts these as
well, as if the clip had been filmed at N + 1 times its rate. The truth is always a frame that was
really filmed, and no sharper than it was filmed. What optical flow gets wrong (things that turn up,
cross, or are very fast) is in the blurred half alone.

It needs OpenCV, for videos and for the motion: `pip install 'tfdeblur[video]'`.

Reference: Nah et al., Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring,
2017, section 2 (averages of 7 to 13 frames); Nah et al., NTIRE 2019 Challenge on Video Deblurring
and Super-Resolution (interpolated frames).
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_prep import images, motion
from data_prep.blur import item_rng, to_uint8
from data_prep.clips import VIDEOS, is_video, open_clip
from data_prep.layouts import faults
from data_prep.layouts.folders import unrecognized, walk_files
from data_prep.layouts.splits import SceneOptions, assign_splits, select
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.errors import ConfigError, DataError

# Places of a clip at which its motion is measured.
_PROBES = 8
# Clips of too much motion that are named one by one.
_NAMED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Options of the source of clips."""

    source: Annotated[
        str, Field(description="folder of clips: folders of frames or videos; or one video")
    ]
    window: Annotated[
        tuple[Annotated[int, Field(ge=3, le=255)], ...],
        Field(min_length=1, description="frames in an average, odd; each window draws one"),
    ] = (7, 9, 11, 13)
    step: Annotated[
        int | None,
        Field(ge=1, description="frames from one truth to the next; default: no overlap"),
    ] = None
    interpolate: Annotated[
        int, Field(ge=0, le=63, description="frames put between any two by optical flow")
    ] = 0
    gamma: Annotated[
        float,
        Field(ge=1, le=4, description="light is pixel value to this power; 1 averages values"),
    ] = 2.2
    max_motion: Annotated[
        float, Field(gt=0, description="pixels from frame to frame above which a clip is named")
    ] = 3.0
    test_share: Annotated[
        float, Field(ge=0, lt=1, description="share of clips kept for the test split")
    ] = 0.125


def build(options: Options) -> "Frames":
    """Returns the source."""
    return Frames(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a video or a folder with videos; else none.

    A folder of frames looks like one of photographs, so it is for a person to say which it is.
    """
    from tfdeblur.io import files

    if files.is_dir(root):
        return [{"source": root}] if any(map(is_video, walk_files(root))) else []
    return [{"source": root}] if is_video(root) and files.exists(root) else []


class Frames(Source):
    """Clips whose frames are averaged."""

    def __init__(self, options: Options) -> None:
        even = [size for size in options.window if size % 2 == 0]
        if even:
            raise ConfigError(f"--window {even[0]}: an even number of frames has no middle one.")
        self._options = options
        # Real frames on each side of the truth that the longest window needs.
        self._reach = math.ceil((max(options.window) // 2) / (options.interpolate + 1))

    def listing(self) -> Listing:
        """Lists all windows of all clips and measures their motion; see `Source.listing`."""
        options = self._options
        clips = find_clips(options.source)
        names = select(sorted(clips), options)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            found = {}
            for name, windows in zip(
                names, pool.map(lambda name: self._look(name, clips[name]), names), strict=True
            ):
                if isinstance(windows, faults.Fault):
                    faults.report(windows)
                else:
                    found[name] = windows
            names = list(found)
            usable = [name for name in names if found[name]]
            if not usable:
                raise DataError(
                    f"No clip of {options.source} has the {2 * self._reach + 1} frames that "
                    "a window needs."
                )
            moved = list(pool.map(lambda name: self._motion(clips[name]), usable))
        notes = []
        short = [name for name in names if not found[name]]
        if short:
            notes.append(
                f"Clips left out, for they have fewer than {2 * self._reach + 1} frames: "
                f"{len(short)} ({', '.join(short[:5])}{', ...' if len(short) > 5 else ''})."
            )
        notes += self._warnings(dict(zip(usable, moved, strict=True)))
        splits, decided = assign_splits(dict.fromkeys(usable, "train"), options)
        listed: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
        for name in usable:
            listed[splits[name]].extend(found[name])
        videos = sum(is_video(clips[name]) for name in usable)
        return Listing(
            {split: tuple(items) for split, items in listed.items() if items},
            (*notes, *decided),
            f"clips, folders of frames: {len(usable) - videos}, videos: {videos}",
        )

    def load(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Returns the average of a window and its middle frame."""
        options = self._options
        rng = item_rng(options.seed, f"window {item.key}")
        half = options.window[rng.integers(len(options.window))] // 2
        parts = options.interpolate + 1
        reach = math.ceil(half / parts)
        frames = open_clip(item.blurred).read(int(item.frame) - reach, 2 * reach + 1)
        for frame in frames:
            if frame.shape != (item.height, item.width, 3):
                raise DataError(
                    f"{item.blurred} has a frame of {frame.shape[1]}x{frame.shape[0]}, but was "
                    f"listed as {item.width}x{item.height}."
                )
        return average(frames, half, parts, options.gamma), frames[reach]

    def describe_blur(self) -> dict[str, Any]:
        """Returns how frames are averaged."""
        options = self._options
        return {
            "kind": "frames",
            "how": "mean of consecutive frames; the middle one is the truth",
            "window": list(options.window),
            "interpolated": options.interpolate,
            "gamma": options.gamma,
        }

    def _look(self, name: str, path: str) -> list[Item] | faults.Fault:
        """Returns the windows of one clip, or what is wrong with it."""
        # Threads know nothing of faults that are collected, so they hand over what they find.
        try:
            return self._windows(name, path)
        except DataError as error:
            return faults.Fault("bad-clip", path, str(error))

    def _windows(self, name: str, path: str) -> list[Item]:
        """Returns the windows of one clip; the number of the middle frame is their name."""
        count, height, width = open_clip(path).probe()
        if self._options.interpolate and min(height, width) < 16:
            raise DataError(f"{path}: frames of {width}x{height} are too small for optical flow.")
        step = self._options.step or 2 * self._reach + 1
        return [
            Item(name, f"{middle:06d}", height, width, sharp=path, blurred=path)
            for middle in range(self._reach, count - self._reach, step)
        ]

    def _motion(self, path: str) -> motion.Displacement:
        """Returns the motion from one averaged frame to the next, where a clip has most of it."""
        clip = open_clip(path)
        pairs = clip.probe()[0] - 1
        count = min(_PROBES, pairs)
        # In the middle of equal parts of the clip, whatever the windows are.
        places = [(2 * part + 1) * pairs // (2 * count) for part in range(count)]
        measured = [motion.measure(*clip.read(place, 2)) for place in places]
        parts = self._options.interpolate + 1
        worst = max(measured, key=lambda found: found.high)
        return motion.Displacement(worst.median / parts, worst.high / parts)

    def _warnings(self, moved: dict[str, motion.Displacement]) -> list[str]:
        """Returns a sentence for each clip whose frames are too far apart to be averaged."""
        most, parts = self._options.max_motion, self._options.interpolate + 1
        high = sorted(
            (name for name in moved if moved[name].high > most),
            key=lambda name: -moved[name].high,
        )
        notes = []
        for name in high[:_NAMED]:
            needed = math.ceil(parts * moved[name].high / most) - 1
            notes.append(
                f"WARNING: {name} moves too fast to be averaged without ghosts: 5 % of the "
                f"picture moves by {moved[name].high:.1f} pixels or more from frame to frame "
                f"(median {moved[name].median:.1f}), where {most:g} are allowed (--max-motion). "
                f"--interpolate {needed} would do."
            )
        if len(high) > _NAMED:
            rest = ", ".join(f"{name} {moved[name].high:.1f}" for name in high[_NAMED:])
            notes.append(f"WARNING: so do {len(high) - _NAMED} more clips: {rest}.")
        return notes


def find_clips(root: str) -> dict[str, str]:
    """Returns the paths of all clips, folders and videos, by their names.

    Raises:
        DataError: There are none, or two would have the same name.
    """
    from tfdeblur.io import files

    expected = f"folders of frames, or videos ({', '.join(VIDEOS)})"
    if is_video(root) and files.exists(root) and not files.is_dir(root):
        return {files.base_name(root).rsplit(".", 1)[0]: root}
    if not files.is_dir(root):
        raise unrecognized(root, expected)
    found: dict[str, str] = {}
    for path in walk_files(root):
        folder = files.parent(path)
        if is_video(path):
            name, place = path.rsplit(".", 1)[0], files.join(root, path)
        elif images.is_picture(path):
            name = folder or files.base_name(root)
            place = files.join(root, folder) if folder else root
        else:
            continue
        other = found.setdefault(name, place)
        if other != place:
            raise DataError(f"{other} and {place} would both be the clip {name!r}. Rename one.")
    if not found:
        raise unrecognized(root, expected)
    return found


def average(frames: Sequence[np.ndarray], half: int, parts: int, gamma: float) -> np.ndarray:
    """Averages frames in light.

    Args:
        frames: An odd number of uint8 [height, width, 3]; the middle one is the truth.
        half: How many moments before the middle, and how many after it, are averaged.
        parts: Moments from one frame to the next; above 1, those between frames are interpolated.
        gamma: Light is the pixel value to this power.

    Returns:
        uint8 [height, width, 3].
    """
    light_of = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    middle = len(frames) // 2
    # A frame in light is four times as large, so only those in hand are turned into it.
    total = light_of[frames[middle]]
    for side in (-1, 1):
        for moment in range(1, half + 1):
            if moment % parts == 0:
                total += light_of[frames[middle + side * (moment // parts)]]
        if parts == 1:
            continue
        for step in range(math.ceil(half / parts)):
            here, there = middle + side * step, middle + side * (step + 1)
            inside = range(1, min(parts - 1, half - step * parts) + 1)
            made = motion.between(
                frames[here],
                frames[there],
                (light_of[frames[here]], light_of[frames[there]]),
                [moment / parts for moment in inside],
            )
            total += sum(made)
    mean = total / np.float32(2 * half + 1)
    return to_uint8(255 * np.clip(mean, 0, 1) ** np.float32(1 / gamma))
