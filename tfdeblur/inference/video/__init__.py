"""Video files: rewrites every frame and keeps everything else.

The first video stream is decoded and encoded again; audio and subtitle packets are copied. Frames
keep their timestamps, so a video of variable frame rate stays in sync with its audio. Frames are
returned upright; the rotation in the file is applied.

PyAV decodes and encodes; it is imported when a video is opened. `reading` and `writing` handle
the files, `frames` their pixel formats.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tqdm

from tfdeblur._version import __version__
from tfdeblur.errors import DataError
from tfdeblur.inference.video.flicker import Flicker as Flicker
from tfdeblur.inference.video.flicker import FlickerMeter
from tfdeblur.inference.video.frames import pyav
from tfdeblur.inference.video.kept_frames import KeptFrames
from tfdeblur.inference.video.reading import Batch, open_source
from tfdeblur.inference.video.writing import CONTAINERS, Film
from tfdeblur.io import files
from tfdeblur.io.videos import SUFFIXES as SUFFIXES
from tfdeblur.io.videos import is_video as is_video

Change = Callable[[np.ndarray], np.ndarray]


def written_name(name: str) -> str:
    """Returns the output name of a video, with `.mkv` if its own format cannot be written."""
    suffix = name[name.rindex(".") :]
    return name if suffix.lower() in CONTAINERS else f"{name.removesuffix(suffix)}.mkv"


def rewrite(
    path: str,
    out: str | None,
    change: Change,
    *,
    side: str | None = None,
    pixels_at_once: int = 1,
    progress: bool = False,
    identity: Mapping[str, Any] | None = None,
) -> Flicker | None:
    """Writes a video with every frame changed. The output appears only once it is complete.

    MP4, MOV and MKV are encoded as H.264, or as H.265 for more than 8 bits; WebM as VP9 or AV1.
    Chroma subsampling is kept, unless an odd size requires full resolution. Further video streams,
    such as a cover image, and streams other than audio and subtitles are dropped with a warning.
    Audio that the container does not support is encoded as AAC (MP4, MOV), Opus (WebM) or FLAC
    (MKV), and such subtitles are dropped, both with a warning.

    Args:
        path: The video, on any file system that TensorFlow reads.
        out: The new file; its suffix determines the container. None if only `side` is written.
        change: From frames uint8 or uint16 [B, H, W, 3], RGB and upright, to frames of the same
            shape and dtype.
        side: A second file, without audio, with the frames before and after side by side.
        pixels_at_once: Frames per batch times height times width do not exceed this, except that
            a batch has at least one frame.
        progress: Whether to show a progress bar over the frames.
        identity: What `change` computes, as JSON values. If given, frames are kept beside the file
            until it is complete, and a second call after an interruption or a kill continues with
            them; see `kept_frames`.

    Returns:
        How much more neighboring frames differ than before; None for a single frame.

    Raises:
        UserError: PyAV is not installed, or a file cannot be written; the message names it.
        DataError: `path` is not a video, is damaged or truncated, or cannot be written in that
            container.
    """
    if identity is None:
        return _rewrite(path, out, change, side, pixels_at_once, progress, None)
    pyav()
    files.require_regular_file(path)
    source = {"source": files.sha256_of(path), "pixels_at_once": pixels_at_once}
    written = out or side
    assert written is not None
    if files.parent(written):
        files.make_dirs(files.parent(written))
    kept = KeptFrames(written, {**identity, **source, "version": __version__})
    try:
        flicker = _rewrite(path, out, change, side, pixels_at_once, progress, kept)
    except DataError:
        kept.remove()  # the same happens again, unlike with a full disk
        raise
    kept.remove()
    return flicker


def _rewrite(
    path: str,
    out: str | None,
    change: Change,
    side: str | None,
    pixels_at_once: int,
    progress: bool,
    kept: KeptFrames | None,
) -> Flicker | None:
    meter, count = FlickerMeter(), 0
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(path))
        film, side_film = (
            None if name is None else stack.enter_context(Film.new(name, source, sound=sound))
            for name, sound in ((out, True), (side, False))
        )
        bar = stack.enter_context(
            tqdm.tqdm(
                total=source.frames,
                desc=files.base_name(path),
                unit="frame",
                leave=False,
                disable=None if progress else True,
            )
        )
        for item in source.items(pixels_at_once):
            if not isinstance(item, Batch):
                if film is not None:
                    film.copy(item)
                continue
            changed = None if kept is None else kept.read(count, item.pixels)
            if changed is None:
                changed = change(item.pixels)
                if kept is not None:
                    kept.keep(count, changed)
            count += len(changed)
            if film is not None:
                film.add(changed, item)
            meter.add(item.pixels, changed)
            if side_film is not None:
                side_film.add(np.concatenate([item.pixels, changed], axis=2), item)
            bar.update(len(changed))
    return meter.result()
