"""Small videos for tests, written and read by PyAV directly."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")

RATE = 25


def scene(height, width, count):
    """Moving smooth gradients, which lose little to chroma subsampling."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = [
        np.stack([x * 2 + 5 * i, y * 2 + 20, 200 - x - y + 3 * i], axis=-1) for i in range(count)
    ]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def make(
    path,
    *,
    size=(64, 96),
    count=6,
    times=None,
    codec="libx264",
    kind="yuv420p",
    rotation=0,
    sound="aac",
    full=False,
    subtitles=None,
):
    """Writes a small video and returns its path; subtitles are those of a file."""
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(path, "w"))
        container.metadata["title"] = "A title"
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = size
        stream.pix_fmt = kind
        if rotation:
            stream.set_display_rotation(rotation)
        if full:
            stream.codec_context.color_range = 2
        audio = container.add_stream(sound, rate=48000) if sound else None
        if subtitles:
            script = stack.enter_context(av.open(subtitles))
            text = container.add_stream_from_template(script.streams.subtitles[0])
            for packet in [packet for packet in script.demux() if packet.dts is not None]:
                packet.stream = text
                container.mux(packet)
        if audio:
            audio.metadata["language"] = "deu"
        for index, pixels in enumerate(scene(*size, count)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame = frame.reformat(format=kind, dst_color_range=2 if full else 1)
            frame.pts = times[index] if times else index
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            samples = np.sin(np.arange(48000 * count // RATE) / 20).astype(np.float32)
            step = audio.codec_context.frame_size or 1024
            for first in range(0, len(samples) - step + 1, step):
                part = np.stack([samples[first : first + step]] * 2)
                chunk = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                chunk.sample_rate, chunk.pts = 48000, first
                container.mux(audio.encode(chunk))
            container.mux(audio.encode())
    return path


def frames_of(path):
    """Returns the decoded frames as stored, and their times in seconds."""
    with av.open(path) as container:
        decoded = [(f.to_ndarray(format="rgb24"), f.time) for f in container.decode(video=0)]
    return np.stack([pixels for pixels, _ in decoded]), [time for _, time in decoded]


def seconds_of_sound(path):
    """Returns the duration of the decoded audio in seconds."""
    with av.open(path) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def sound_of(path):
    """Returns the audio packets and their times in seconds."""
    with av.open(path) as container:
        return [
            (bytes(packet), float(packet.pts * packet.time_base))
            for packet in container.demux(audio=0)
            if packet.size
        ]
