"""Reading a video: batches of frames, and packets of what is copied."""

import contextlib
import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import tqdm

from tfdeblur.errors import UserError
from tfdeblur.inference.video.frames import Look, kind_of, pyav
from tfdeblur.io import files

# The last packets of a stream may be shorter than they are told to be.
_SLACK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Frames that follow each other, with the time of each."""

    pixels: np.ndarray
    times: tuple[int, ...]
    look: Look


class Source:
    """A video that is read."""

    def __init__(self, path: str, container: Any) -> None:
        self.path = path
        self.container = container
        streams = container.streams
        if not streams.video:
            raise UserError(f"{path} holds no video.")
        self.video = streams.video[0]
        self.video.thread_type = "AUTO"
        self.copied = [*streams.audio, *streams.subtitles]
        left = [s for s in streams if s not in [self.video, *self.copied]]
        if left:
            kinds = ", ".join(sorted({f"{stream.type} stream" for stream in left}))
            tqdm.tqdm.write(f"warning: {path}: left out what cannot be carried over: {kinds}.")

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return self.video.average_rate or self.video.guessed_rate or Fraction(25)

    @property
    def frames(self) -> int | None:
        """The number of frames, as far as it is known beforehand."""
        if self.video.frames:
            return int(self.video.frames)
        if self.container.duration is None:
            return None
        return round(self.container.duration / 1_000_000 * self.rate)

    def items(self, pixels_at_once: int) -> Iterator[Any]:
        """Yields batches of frames, and packets to be copied, about as they follow each other."""
        waiting: list[np.ndarray] = []
        times: list[int] = []
        look: Look | None = None
        count, end = 0, 0.0
        for packet in self._packets():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not self.video:
                if packet.dts is not None:
                    yield packet
                continue
            for frame in self._decoded(packet, count):
                look = look or self._look(frame)
                if kind_of(frame) != look.kind:
                    raise UserError(f"{self.path} changes its pixel format in frame {count + 1}.")
                pixels = look.pixels(frame)
                if waiting and pixels.shape != waiting[0].shape:
                    raise UserError(f"{self.path} changes its size in frame {count + 1}.")
                waiting.append(pixels)
                times.append(self._time(frame, count))
                count += 1
                if (len(waiting) + 1) * pixels.size // 3 > pixels_at_once:
                    yield Batch(np.stack(waiting), tuple(times), look)
                    waiting, times = [], []
        if look is None:
            raise UserError(f"{self.path} holds no frame that can be read.")
        self._check_end(end)
        if waiting:
            yield Batch(np.stack(waiting), tuple(times), look)

    def _check_end(self, end: float) -> None:
        """Finds files that were cut off, of which FFmpeg says nothing.

        Raises:
            UserError: The file ends more than a second before what its table of contents says.
        """
        exact = any(name in self.container.format.name for name in ("mp4", "matroska"))
        if not exact or self.container.duration is None:
            return
        told = (self.container.duration + max(self.container.start_time or 0, 0)) / 1e6
        if end < told - _SLACK_SECONDS:
            raise UserError(
                f"{self.path} is cut off: it should last {told:.1f} s and ends after {end:.1f} s."
            )

    def _packets(self) -> Iterator[Any]:
        with self._named():
            yield from self.container.demux([self.video, *self.copied])

    def _decoded(self, packet: Any, count: int) -> list[Any]:
        with self._named():
            frames = packet.decode()
        if any(frame.is_corrupt for frame in frames):
            raise UserError(f"{self.path} is damaged near frame {count + 1}.")
        return list(frames)

    def _look(self, frame: Any) -> Look:
        if frame.interlaced_frame:
            tqdm.tqdm.write(
                f"warning: {self.path} is interlaced: its two fields are restored as one picture. "
                "Deinterlace it first for a good result."
            )
        return Look.of(frame)

    def _time(self, frame: Any, count: int) -> int:
        if frame.pts is not None:
            return int(frame.pts)
        # Old containers, such as AVI, count frames and know no times.
        return round(count / self.rate / self.video.time_base)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except pyav().FFmpegError as error:
            raise UserError(f"{self.path} is damaged or cut off: {_said(error)}.") from error


@contextlib.contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Opens a video on any file system.

    Raises:
        UserError: There is no such file, or it is no video.
    """
    av = pyav()
    files.refuse_endless(path)
    with contextlib.ExitStack() as stack:
        # FFmpeg reads local files best by itself.
        file = path if files.is_local(path) else stack.enter_context(files.open_old(path))
        try:
            container = stack.enter_context(av.open(file))
        except av.FileNotFoundError as error:
            raise UserError(f"{path} does not exist.") from error
        except av.FFmpegError as error:
            raise UserError(f"{path} is not a video that can be read: {_said(error)}.") from error
        yield Source(path, container)


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
