"""Clips of sharp frames (folders or video files), blurred by averaging consecutive frames.

Every folder of images below `--source` and every video file is a clip, and every clip is a scene.
A window of frames is averaged in linear light, as in a camera, and its middle frame is the sharp
half. The length of each window is drawn from `--window`.

Averaging assumes small motion between frames, as at 240 frames per second. At 24 to 30, a moving
edge leaves separate copies (ghosts) instead of a blur. Therefore the motion in every clip is
measured, and the build warns if it exceeds `--max-motion` pixels. `--interpolate N` inserts N
frames between any two by optical flow; window lengths count these as well, as if the clip had been
recorded at N + 1 times its rate. The sharp half is always an original frame, so errors of optical
flow (at occlusions and very fast objects) affect only the blurred half.

Videos and motion require OpenCV: `pip install 'tfdeblur[video]'`.

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
from data_prep.blur import item_rng
from data_prep.clips import is_video, open_clip
from data_prep.faults import Code, Fault, report
from data_prep.layouts.folders import unrecognized, walk_files
from data_prep.layouts.splits import SceneOptions, assign_splits, by_split, select
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files, videos
from tfdeblur.ops.arrays import to_uint8

# Number of places in a clip where motion is measured.
_PROBES = 8
# Maximum number of separate warnings about clips with too much motion.
_MAX_WARNINGS = 10
# A number of frames to average.
_Length = Annotated[int, Field(ge=3, le=255)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Options of the source of clips."""

    source: str
    """folder of clips (folders of frames or videos), or one video"""
    window: Annotated[tuple[_Length, ...], Field(min_length=1)] = (7, 9, 11, 13)
    """numbers of frames to average, odd; drawn per window"""
    step: Annotated[int | None, Field(ge=1)] = None
    """frames from one window to the next; default: no overlap"""
    interpolate: Annotated[int, Field(ge=0, le=63)] = 0
    """frames inserted between any two by optical flow"""
    gamma: Annotated[float, Field(ge=1, le=4)] = 2.2
    """light is the pixel value to this power; 1 averages values"""
    max_motion: Annotated[float, Field(gt=0)] = 3.0
    """warn about motion above this, in pixels per frame"""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """fraction of clips in the test split"""


def _fault(path: str, error: DataError) -> Fault:
    """Returns the fault of a clip: of its content, unless its disk or network failed."""
    code: Code = "unreadable"
    if isinstance(error, Fault) and error.code == "unavailable":
        code = "unavailable"
    return Fault(code, path, str(error))


def build(options: Options) -> "Frames":
    """Returns the source."""
    return Frames(options)


def recognize(root: str) -> list[dict[str, Any]]:
    """Returns the options that read a video or a folder with videos; else none.

    A folder of frames cannot be distinguished from a folder of photographs.
    """
    if files.is_dir(root):
        return [{"source": root}] if any(map(is_video, walk_files(root))) else []
    return [{"source": root}] if is_video(root) and files.exists(root) else []


class Frames(Source):
    """Clips with averaged frames."""

    def __init__(self, options: Options) -> None:
        even = [size for size in options.window if size % 2 == 0]
        if even:
            raise ConfigError(f"--window {even[0]} is even, so there is no middle frame.")
        self._options = options
        # Original frames on each side of the middle one that the longest window requires.
        self._reach = math.ceil((max(options.window) // 2) / (options.interpolate + 1))

    def listing(self) -> Listing:
        """Lists the windows of all clips and measures their motion; see `Source.listing`."""
        options = self._options
        clips = find_clips(options.source)
        names = select(sorted(clips), options)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            found = {}
            for name, windows in zip(
                names, pool.map(lambda name: self._probe(name, clips[name]), names), strict=True
            ):
                if isinstance(windows, Fault):
                    report(windows)
                else:
                    found[name] = windows
            names = list(found)
            usable = [name for name in names if found[name]]
            if not usable:
                raise DataError(
                    f"No clip of {options.source} has the {2 * self._reach + 1} frames that a "
                    "window requires."
                )
            moved = {}
            for name, motion_of_clip in zip(
                usable, pool.map(lambda name: self._motion(clips[name]), usable), strict=True
            ):
                if isinstance(motion_of_clip, Fault):
                    report(motion_of_clip)
                else:
                    moved[name] = motion_of_clip
            usable = list(moved)
        notes = []
        short = [name for name in names if not found[name]]
        if short:
            notes.append(
                f"Clips skipped because they have fewer than {2 * self._reach + 1} frames: "
                f"{len(short)} ({', '.join(short[:5])}{', ...' if len(short) > 5 else ''})."
            )
        notes += self._warnings(moved)
        splits, split_notes = assign_splits(dict.fromkeys(usable, "train"), options)
        videos = sum(is_video(clips[name]) for name in usable)
        return Listing(
            by_split({name: found[name] for name in usable}, splits),
            (*notes, *split_notes),
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
            "how": "mean of consecutive frames; the middle one is the sharp half",
            "window": list(options.window),
            "interpolated": options.interpolate,
            "gamma": options.gamma,
        }

    def _probe(self, name: str, path: str) -> list[Item] | Fault:
        """Returns the windows of one clip, or its fault."""
        # Threads do not inherit the context variable that collects faults.
        try:
            return self._windows(name, path)
        except DataError as error:
            return _fault(path, error)

    def _windows(self, name: str, path: str) -> list[Item]:
        """Returns the windows of one clip, named by the number of their middle frame."""
        count, height, width = open_clip(path).probe()
        if self._options.interpolate and min(height, width) < 16:
            raise DataError(f"{path}: frames of {width}x{height} are too small for optical flow.")
        step = self._options.step or 2 * self._reach + 1
        return [
            Item(name, f"{middle:06d}", height, width, sharp=path, blurred=path)
            for middle in range(self._reach, count - self._reach, step)
        ]

    def _motion(self, path: str) -> motion.Displacement | Fault:
        """Returns the maximum motion between averaged frames in a clip, or its fault."""
        try:
            clip = open_clip(path)
            pairs = clip.probe()[0] - 1
            count = min(_PROBES, pairs)
            # In the middle of equal parts of the clip, independently of the windows.
            places = [(2 * part + 1) * pairs // (2 * count) for part in range(count)]
            measured = [motion.measure(*clip.read(place, 2)) for place in places]
        except DataError as error:
            return _fault(path, error)
        parts = self._options.interpolate + 1
        return motion.Displacement(*(percentile / parts for percentile in max(measured)))

    def _warnings(self, moved: dict[str, motion.Displacement]) -> list[str]:
        """Returns warnings about clips with too much motion between frames."""
        limit, parts = self._options.max_motion, self._options.interpolate + 1
        high = sorted(
            (name for name in moved if moved[name].high > limit),
            key=lambda name: -moved[name].high,
        )
        notes = []
        for name in high[:_MAX_WARNINGS]:
            needed = math.ceil(parts * moved[name].high / limit) - 1
            notes.append(
                f"WARNING: motion in {name} is too fast to average without ghosts: 5 % of the "
                f"image moves by at least {moved[name].high:.1f} pixels per frame (median "
                f"{moved[name].median:.1f}), above {limit:g} (--max-motion). Set --interpolate "
                f"{needed}."
            )
        rest = ", ".join(f"{name} {moved[name].high:.1f}" for name in high[_MAX_WARNINGS:])
        if rest:
            notes.append(f"WARNING: the same for {len(high) - _MAX_WARNINGS} more clips: {rest}.")
        return notes


def find_clips(root: str) -> dict[str, str]:
    """Returns the paths of all clips, folders and videos, by their names.

    Raises:
        DataError: There are no clips, or two have the same name.
    """
    expected = f"folders of frames, or videos ({', '.join(videos.SUFFIXES)})"
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
            raise DataError(f"{other} and {place} are both named clip {name!r}. Rename one.")
    if not found:
        raise unrecognized(root, expected)
    return found


def average(frames: Sequence[np.ndarray], half: int, parts: int, gamma: float) -> np.ndarray:
    """Averages frames in light.

    Args:
        frames: An odd number of uint8 [height, width, 3] frames.
        half: Moments averaged on each side of the middle frame.
        parts: Moments from one frame to the next; above 1, those in between are interpolated.
        gamma: Light is the pixel value to this power.

    Returns:
        uint8 [height, width, 3].
    """
    light_of = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    middle = len(frames) // 2
    # A float32 frame is four times as large, so frames are converted one at a time.
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
    return to_uint8(np.clip(mean, 0, 1) ** np.float32(1 / gamma))
