"""Reading a video: batches of frames, and packets of the copied streams."""

import contextlib
import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import tqdm

from tfdeblur.errors import DataError
from tfdeblur.inference.video.frames import Look, kind_of, pyav
from tfdeblur.io import files, videos

_OPTIONS = {"format_whitelist": videos.FORMATS, "protocol_whitelist": ""}

# The last packets of a stream may be shorter than declared.
_SLACK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Consecutive frames, [B, H, W, 3], with the timestamp of each."""

    pixels: np.ndarray
    times: tuple[int, ...]
    look: Look


class Source:
    """A video opened for reading."""

    def __init__(self, path: str, container: Any) -> None:
        self.path = path
        self.container = container
        streams = container.streams
        if not streams.video:
            raise DataError(f"{path} has no video stream.")
        self.video = streams.video[0]
        codec = self.video.codec_context
        if codec is None:
            raise DataError(f"{path} has a video stream of an unknown codec.")
        width, height = codec.width, codec.height
        if width * height > videos.MAX_PIXELS:
            raise DataError(
                f"{path} has frames of {width}x{height} pixels; at most {videos.MAX_PIXELS:,} "
                "pixels are decoded."
            )
        self.video.thread_type = "AUTO"
        copied = [*streams.audio, *streams.subtitles]
        # Streams of unknown codecs have no context, and cannot be written.
        self.copied = [stream for stream in copied if stream.codec_context is not None]
        dropped = [s for s in streams if s not in [self.video, *self.copied]]
        if dropped:
            kinds = ", ".join(sorted({f"{stream.type} stream" for stream in dropped}))
            tqdm.tqdm.write(f"warning: {path}: dropped unsupported streams: {kinds}.")

    @property
    def rate(self) -> Fraction:
        """Average frames per second."""
        return self.video.average_rate or self.video.guessed_rate or Fraction(25)

    @property
    def frames(self) -> int | None:
        """Number of frames as declared or estimated; None if unknown."""
        if self.video.frames:
            return int(self.video.frames)
        if self.container.duration is None:
            return None
        return round(self.container.duration / 1_000_000 * self.rate)

    def items(self, pixels_at_once: int) -> Iterator[Any]:
        """Yields batches of frames and packets to copy, approximately in file order."""
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
            for frame in self._decode(packet, count):
                look = look or self._look(frame)
                if kind_of(frame) != look.kind:
                    raise DataError(f"{self.path} changes its pixel format in frame {count + 1}.")
                pixels = look.pixels(frame)
                if waiting and pixels.shape != waiting[0].shape:
                    raise DataError(f"{self.path} changes its size in frame {count + 1}.")
                waiting.append(pixels)
                times.append(self._time(frame, count))
                count += 1
                if (len(waiting) + 1) * pixels.size // 3 > pixels_at_once:
                    yield Batch(np.stack(waiting), tuple(times), look)
                    waiting, times = [], []
        if look is None:
            raise DataError(f"{self.path} has no readable frame.")
        self._check_end(end)
        if waiting:
            yield Batch(np.stack(waiting), tuple(times), look)

    def _check_end(self, end: float) -> None:
        """Detects truncated files, which FFmpeg does not report.

        Raises:
            DataError: The file ends more than a second before the duration in its index.
        """
        exact = any(name in self.container.format.name for name in ("mp4", "matroska"))
        if not exact or self.container.duration is None:
            return
        declared = (self.container.duration + max(self.container.start_time or 0, 0)) / 1e6
        if end < declared - _SLACK_SECONDS:
            raise DataError(
                f"{self.path} is truncated: it ends after {end:.1f} of {declared:.1f} s."
            )

    def _packets(self) -> Iterator[Any]:
        with self._named_errors():
            yield from self.container.demux([self.video, *self.copied])

    def _decode(self, packet: Any, count: int) -> list[Any]:
        with self._named_errors():
            frames = packet.decode()
        if any(frame.is_corrupt for frame in frames):
            raise DataError(f"{self.path} is damaged near frame {count + 1}.")
        return list(frames)

    def _look(self, frame: Any) -> Look:
        if frame.interlaced_frame:
            tqdm.tqdm.write(
                f"warning: {self.path} is interlaced, but restored as if it were progressive. "
                "Deinterlace it first for a good result."
            )
        return Look.of(frame)

    def _time(self, frame: Any, count: int) -> int:
        if frame.pts is not None:
            return int(frame.pts)
        # Old containers, such as AVI, have frame numbers and no timestamps.
        return round(count / self.rate / self.video.time_base)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except pyav().FFmpegError as error:
            raise DataError(f"{self.path} is damaged or truncated: {_reason(error)}.") from error


@contextlib.contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Opens a video on any file system.

    Raises:
        DataError: The file does not exist or is not a video.
    """
    av = pyav()
    files.require_regular_file(path)
    with contextlib.ExitStack() as stack:
        # Opened here: FFmpeg would take names such as `tcp:host` and `concat:a|b` for protocols.
        file = stack.enter_context(files.open_read(path))
        try:
            container = stack.enter_context(av.open(file, options=_OPTIONS, **_text_errors()))
        except av.FileNotFoundError as error:
            raise DataError(f"{path} does not exist.") from error
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{path} is not a readable video: {_reason(error)}.") from error
        yield Source(path, container)


def _text_errors() -> dict[str, str]:
    """Returns the argument that accepts metadata that are not UTF-8, which PyAV 19 always does."""
    old = int(pyav().__version__.split(".")[0]) < 19
    return {"metadata_errors": "replace"} if old else {}


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
