"""Clips: consecutive frames, in a folder of images or in a video file."""

import dataclasses
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from data_prep import images, motion
from data_prep.plan import size_text
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files, videos

# OpenCV reads options of FFmpeg from this environment variable whenever it opens a video.
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_environment = threading.Lock()


def is_video(name: str) -> bool:
    """Returns whether a file is a video, by its name; hidden files are not."""
    return videos.is_video(name) and not name.rsplit("/", 1)[-1].startswith(".")


def open_clip(path: str) -> "FolderClip | VideoClip":
    """Returns the clip in a folder or a video file, without reading it."""
    return VideoClip(path) if is_video(path) else FolderClip(path)


def in_order(names: list[str]) -> list[str]:
    """Sorts names by the numbers in them: frame2 before frame10."""
    return sorted(
        names,
        key=lambda name: [
            (int(part), part) if part.isdigit() else (-1, part)
            for part in re.split(r"([0-9]+)", name)
        ],
    )


@dataclasses.dataclass(frozen=True)
class FolderClip:
    """The images of a folder, ordered by the numbers in their names."""

    folder: str

    @property
    def paths(self) -> list[str]:
        """The paths of the frames."""
        try:
            names = files.list_dir(self.folder)
        except UserError as error:
            if isinstance(error.__cause__, Exception):
                raise images.fault_of(self.folder, error.__cause__) from error
            raise DataError(str(error)) from error
        pictures = in_order([name for name in names if images.is_picture(name)])
        return [f"{self.folder.rstrip('/')}/{name}" for name in pictures]

    def probe(self) -> tuple[int, int, int]:
        """Returns the number of frames, their height and their width.

        Raises:
            DataError: The clip is unreadable, or its frames differ in size.
        """
        paths = self.paths
        if not paths:
            raise DataError(f"{self.folder} contains no images.")
        with ThreadPoolExecutor(16) as pool:
            sizes = list(pool.map(images.size_of, paths))
        for path, size in zip(paths, sizes, strict=True):
            if size != sizes[0]:
                raise DataError(
                    f"{path} is {size_text(size)}, but the first frame of its clip, {paths[0]}, is "
                    f"{size_text(sizes[0])}."
                )
        return len(paths), *sizes[0]

    def read(self, first: int, count: int) -> list[np.ndarray]:
        """Returns consecutive frames, uint8 [height, width, 3] each.

        Raises:
            DataError: The frames are unreadable.
        """
        paths = self.paths[first : first + count]
        if len(paths) < count:
            raise DataError(
                f"{self.folder} has fewer frames than when it was listed. Run the command again."
            )
        return [images.load_rgb(path) for path in paths]


@dataclasses.dataclass(frozen=True)
class VideoClip:
    """The frames of a video file, read by OpenCV."""

    path: str

    def probe(self) -> tuple[int, int, int]:
        """See `FolderClip.probe`."""
        cv2 = motion.opencv()
        with self._open() as video:
            good, frame = video.read()
            if not good:
                raise DataError(f"{self.path} has no readable frame.")
            height, width = frame.shape[:2]
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            # The number in the header may be an estimate, so the last frame is checked to exist and
            # to be the last.
            video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
            if count > 0 and video.grab() and not video.grab():
                return count, height, width
        with self._open() as video:
            count = 0
            while video.grab():
                count += 1
        return count, height, width

    def read(self, first: int, count: int) -> list[np.ndarray]:
        """See `FolderClip.read`.

        If a file does not support exact seeking, the frames may be offset by a few positions, but
        they are always consecutive.
        """
        cv2 = motion.opencv()
        frames = []
        with self._open() as video:
            if first:
                video.set(cv2.CAP_PROP_POS_FRAMES, first)
            for number in range(first, first + count):
                good, frame = video.read()
                if not good:
                    raise DataError(
                        f"Frame {number} of {self.path} cannot be read. The file is damaged or "
                        "truncated: fetch it again, or extract its frames with another program."
                    )
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return frames

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if "://" in self.path:
            raise DataError(f"{self.path}: videos must be on a local disk. Copy it there first.")
        try:
            files.require_regular_file(self.path)
        except UserError as error:
            raise DataError(str(error)) from error
        video = _capture(self.path)
        try:
            if not video.isOpened():
                raise DataError(
                    f"{self.path} cannot be opened as a video: it is damaged, or its format is not "
                    "supported by OpenCV."
                )
            cv2 = motion.opencv()
            width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if width * height > videos.MAX_PIXELS:
                raise DataError(
                    f"{self.path} has frames of {width}x{height} pixels; at most "
                    f"{videos.MAX_PIXELS:,} pixels are decoded."
                )
            yield video
        finally:
            video.release()


def _capture(path: str) -> Any:
    """Opens a local video with OpenCV; no other file is opened, whatever its name and content."""
    cv2 = motion.opencv()
    # Without this, a warning follows each video that cannot be opened.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    options = f"format_whitelist;{videos.FORMATS}|protocol_whitelist;file"
    with _environment:
        earlier = os.environ.get(_VARIABLE)
        # Of an option that is set twice, the second value counts.
        os.environ[_VARIABLE] = f"{earlier}|{options}" if earlier else options
        try:
            # Absolute, because `tcp:host` and `concat:a|b` would be protocols; and by FFmpeg,
            # because other backends do not know these options.
            return cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        finally:
            if earlier is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = earlier
