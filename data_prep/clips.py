"""Clips: consecutive frames, in a folder of pictures or in a video file."""

import dataclasses
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from data_prep import images, motion
from tfdeblur.errors import DataError

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts")


class Clip(Protocol):
    """Something whose frames can be read."""

    def probe(self) -> tuple[int, int, int]:
        """Returns the number of frames, their height and their width.

        Raises:
            DataError: The clip cannot be read, or its frames differ in size.
        """
        ...

    def read(self, first: int, count: int) -> list[np.ndarray]:
        """Returns consecutive frames, uint8 [height, width, 3] each.

        Raises:
            DataError: They cannot be read.
        """
        ...


def is_video(name: str) -> bool:
    """Tells by its name whether a file is a video; hidden files are not."""
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(VIDEOS) and not base.startswith(".")


def open_clip(path: str) -> Clip:
    """Returns the clip in a folder or a video file, without looking at it."""
    return VideoClip(path) if is_video(path) else FolderClip(path)


def in_order(names: list[str]) -> list[str]:
    """Returns names in the order of the numbers in them: frame2 before frame10."""
    return sorted(
        names,
        key=lambda name: [
            (int(part), part) if part.isdigit() else (-1, part)
            for part in re.split(r"([0-9]+)", name)
        ],
    )


@dataclasses.dataclass(frozen=True)
class FolderClip:
    """The pictures of a folder, in the order of the numbers in their names."""

    folder: str

    @property
    def paths(self) -> list[str]:
        """The paths of the frames."""
        if "://" in self.folder:
            from tfdeblur.io import files

            names = files.list_dir(self.folder)
        else:
            # Workers that read local files start without TensorFlow.
            try:
                names = os.listdir(self.folder)
            except OSError as error:
                raise DataError(f"{self.folder} cannot be read: {error.strerror}.") from error
        pictures = in_order([name for name in names if images.is_picture(name)])
        return [f"{self.folder.rstrip('/')}/{name}" for name in pictures]

    def probe(self) -> tuple[int, int, int]:
        """See `Clip.probe`."""
        paths = self.paths
        if not paths:
            raise DataError(f"{self.folder} holds no pictures.")
        with ThreadPoolExecutor(16) as pool:
            sizes = list(pool.map(images.size_of, paths))
        for path, size in zip(paths, sizes, strict=True):
            if size != sizes[0]:
                raise DataError(
                    f"{path} is {size[0]}x{size[1]}, but the first frame of its clip, {paths[0]}, "
                    f"is {sizes[0][0]}x{sizes[0][1]}."
                )
        return len(paths), sizes[0][1], sizes[0][0]

    def read(self, first: int, count: int) -> list[np.ndarray]:
        """See `Clip.read`."""
        paths = self.paths[first : first + count]
        if len(paths) < count:
            raise DataError(
                f"{self.folder} holds fewer frames than when it was listed. Run the command again."
            )
        return [images.load_rgb(path) for path in paths]


@dataclasses.dataclass(frozen=True)
class VideoClip:
    """The frames of a video file, read by OpenCV."""

    path: str

    def probe(self) -> tuple[int, int, int]:
        """See `Clip.probe`."""
        cv2 = motion.opencv()
        with self._open() as video:
            good, frame = video.read()
            if not good:
                raise DataError(f"{self.path} holds no frame that can be read.")
            height, width = frame.shape[:2]
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            # The number in a file's head may be an estimate: it holds if the last frame is there
            # and is the last.
            video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
            if count > 0 and video.grab() and not video.grab():
                return count, height, width
        with self._open() as video:
            count = 0
            while video.grab():
                count += 1
        return count, height, width

    def read(self, first: int, count: int) -> list[np.ndarray]:
        """See `Clip.read`.

        A file that cannot be searched exactly may give frames that lie some places beside
        those asked for; they are consecutive all the same.
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
                        "was cut off: fetch it again, or take its frames out by another program."
                    )
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return frames

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if "://" in self.path:
            raise DataError(f"{self.path}: videos are read from local disks. Copy it here first.")
        video = motion.opencv().VideoCapture(self.path)
        try:
            if not video.isOpened():
                raise DataError(
                    f"{self.path} cannot be opened as a video: it is damaged, or of a kind that "
                    "OpenCV cannot read."
                )
            yield video
        finally:
            video.release()
