"""Writing a video: encoded frames, and streams copied from the source."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tqdm

from tfdeblur.errors import DataError, UserError
from tfdeblur.inference.video.frames import BT709, FULL, LIMITED, RGB, Look, interpolation, pyav
from tfdeblur.inference.video.reading import Batch, Source
from tfdeblur.io import files

CONTAINERS = {
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".webm": "webm",
}

# Quality over file size, to keep the restored detail.
_X264 = ("libx264", {"crf": "16", "preset": "medium"})
_X265 = ("libx265", {"crf": "16", "preset": "medium", "x265-params": "log-level=error"})
_VP9 = ("libvpx-vp9", {"crf": "18", "b:v": "0", "row-mt": "1"})
_AV1 = ("libsvtav1", {"crf": "18", "preset": "6", "svtav1-params": "enable-tf=0"})

# Codecs that are copied to each container, besides PCM to QuickTime. Others are listed by FFmpeg
# as well, but rejected when it writes the header, or played by few programs.
_COPIED = {
    "mp4": ("aac", "ac3", "alac", "eac3", "flac", "mov_text", "mp3", "opus"),
    "mov": ("aac", "ac3", "alac", "eac3", "mov_text", "mp3"),
    "webm": ("opus", "vorbis", "webvtt"),
}
_SOUND_ENCODERS = {"mp4": "aac", "mov": "aac", "webm": "libopus", "matroska": "flac"}
_USUAL_RATE = 48000


class Film:
    """A video opened for writing."""

    def __init__(self, container: Any, path: str, source: Source, sound: bool) -> None:
        self._container = container
        self._path = path
        self._source = source
        self._stream: Any = None
        self._look: Look | None = None
        # Streams of the new file by their index in the source.
        self._copies: dict[int, Any] = {}
        self._encoded: dict[int, Any] = {}
        container.metadata.update(source.container.metadata)
        self._sound = sound
        # Packets before the first frame, which determines the parameters of the video stream.
        self._early: list[Any] = []

    @classmethod
    @contextlib.contextmanager
    def new(cls, path: str, source: Source, *, sound: bool) -> "Iterator[Film]":
        """Opens a uniquely named temporary file, renamed to `path` when the block succeeds."""
        av = pyav()
        suffix = path[path.rindex(".") :].lower()
        kind = CONTAINERS[suffix]
        # The index comes first, so that a video plays while it is downloaded.
        options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
        if files.parent(path):
            files.make_dirs(files.parent(path))
        with files.open_name(path) as name:
            try:
                # Absolute: FFmpeg would take a name such as `tcp:host` for a protocol.
                absolute = os.path.abspath(name)
                with av.open(absolute, "w", format=kind, options=options) as container:
                    film = cls(container, path, source, sound)
                    yield film
                    film._finish()
            except av.FFmpegError as error:
                if isinstance(error, OSError | MemoryError):  # such as a full disk
                    raise
                raise DataError(
                    f"{source.path} cannot be written as {path}: {error.strerror}."
                ) from error

    def add(self, pixels: np.ndarray, batch: Batch) -> None:
        """Encodes frames [B, H, W, 3]."""
        if self._stream is None:
            self._begin(pixels, batch.look)
        assert self._look is not None
        av = pyav()
        for array, time in zip(pixels, batch.times, strict=True):
            plain = av.VideoFrame.from_ndarray(array, "rgb48le" if self._look.deep else "rgb24")
            frame = plain.reformat(
                format=self._stream.pix_fmt,
                interpolation=interpolation(),
                src_color_range=FULL,
                dst_colorspace=self._look.matrix,
                dst_color_range=self._look.span,
            )
            frame.pts, frame.time_base = time, self._source.video.time_base
            self._container.mux(self._stream.encode(frame))

    def copy(self, packet: Any) -> None:
        """Copies a packet of audio or subtitles; encodes audio again that cannot be copied."""
        if self._stream is None:
            self._early.append(packet)
            return
        index = packet.stream.index
        if index in self._copies:
            packet.stream = self._copies[index]
            self._container.mux(packet)
        elif index in self._encoded:
            self._encode_sound(index, packet.decode())

    def _encode_sound(self, index: int, frames: Sequence[Any]) -> None:
        for frame in frames:
            self._container.mux(self._encoded[index].encode(frame))

    def _begin(self, pixels: np.ndarray, look: Look) -> None:
        """Chooses the encoder for the first frames, and adds all streams."""
        matrix = self._source.video.codec_context.colorspace
        if look.matrix == RGB:
            # RGB files are written as luma and chroma of full resolution.
            look = dataclasses.replace(look, kind="yuv444p", matrix=BT709, span=LIMITED)
            matrix = BT709
        height, width = pixels.shape[1:3]
        kind = self._container.format.name
        name, options = _encoder(kind, look.deep)
        source = self._source.video
        self._look = look
        self._stream = stream = self._container.add_stream(
            name, rate=self._source.rate, options=dict(options)
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = _pixel_format(name, look, height, width)
        stream.time_base = stream.codec_context.time_base = source.time_base
        stream.metadata.update(source.metadata)
        shape = source.sample_aspect_ratio
        if shape:
            stream.sample_aspect_ratio = 1 / shape if look.transposed else shape
        context = stream.codec_context
        context.color_range = look.span
        # Fields that are unset in the source stay unset.
        context.colorspace = matrix
        context.color_primaries = source.codec_context.color_primaries
        context.color_trc = source.codec_context.color_trc
        if name == "libx265" and kind in ("mp4", "mov"):
            # Apple's players support H.265 under this tag only.
            context.codec_tag = "hvc1"
        if self._sound:
            for one in self._source.copied:
                self._add_copied(one)
            self._container.set_chapters(self._source.container.chapters())
        early, self._early = self._early, []
        for packet in early:
            self.copy(packet)

    def _add_copied(self, one: Any) -> None:
        """Adds a stream of the source: copied, else encoded again if it is audio, else dropped."""
        kind, name = self._container.format.name, one.codec.canonical_name
        if _is_copied(kind, name):
            try:
                self._copies[one.index] = self._container.add_stream_from_template(one)
                self._copies[one.index].metadata.update(one.metadata)
                return
            except (ValueError, pyav().FFmpegError):
                pass  # the container takes less than the table says
        problem = f"warning: {self._path} does not support the {one.type} stream ({name})"
        encoder = _SOUND_ENCODERS[kind]
        if one.type != "audio" or encoder not in pyav().codecs_available:
            tqdm.tqdm.write(f"{problem}, which was dropped; a .mkv file keeps most.")
            return
        stream = self._container.add_stream(encoder, rate=_rate(encoder, one.rate))
        # AVI and Matroska store the number of channels of PCM only.
        stream.layout = {1: "mono", 6: "5.1"}.get(one.layout.nb_channels, "stereo")
        stream.metadata.update(one.metadata)
        self._encoded[one.index] = stream
        tqdm.tqdm.write(f"{problem}, which was encoded as {encoder}; a .mkv file keeps most.")

    def _finish(self) -> None:
        for one in self._source.copied:
            if one.index in self._encoded:
                self._encode_sound(one.index, one.codec_context.decode(None))
                self._container.mux(self._encoded[one.index].encode(None))
        self._container.mux(self._stream.encode())


def _is_copied(container: str, codec: str) -> bool:
    if container == "mov" and codec.startswith("pcm_"):
        return True
    return codec in _COPIED[container] if container in _COPIED else codec != "mov_text"


def _rate(encoder: str, rate: int) -> int:
    known = pyav().Codec(encoder, "w").audio_rates
    return rate if not known or rate in known else _USUAL_RATE


def _encoder(container: str, deep: bool) -> tuple[str, dict[str, str]]:
    if container == "webm":
        name, options = _AV1 if deep else _VP9
    else:
        name, options = _X265 if deep else _X264
    if name not in pyav().codecs_available:
        raise UserError(
            f"This build of PyAV lacks the encoder {name}. Install the one from PyPI: "
            "pip install --force-reinstall av."
        )
    return name, options


def _pixel_format(encoder: str, look: Look, height: int, width: int) -> str:
    known = {kind.name for kind in pyav().Codec(encoder, "w").video_formats or ()}
    chroma = next((c for c in ("420", "422", "444") if f"yuv{c}" in look.kind), "420")
    # Subsampled chroma requires an even number of pixels.
    if (chroma == "420" and height % 2) or (chroma != "444" and width % 2):
        chroma = "444"
    wanted = f"yuv{chroma}p10le" if look.deep else f"yuv{chroma}p"
    if wanted in known:
        return wanted
    return "yuv420p10le" if look.deep else "yuv420p"
