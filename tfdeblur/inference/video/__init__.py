"""Video files: every frame is changed, all else stays as it was found.

The first video stream is decoded and encoded again; sound and subtitles are copied without
being touched. Frames keep their times, so that a video of varying frame rate stays in step with
its sound. They come upright, whatever a camera noted about how it was held.

PyAV decodes and encodes; it is imported when a video is opened. `reading` and `writing` are the
two sides, `frames` knows how pixels lie in a file.
"""

import contextlib
from collections.abc import Callable

import numpy as np
import tqdm

from tfdeblur.inference.video.reading import Batch, open_source
from tfdeblur.inference.video.writing import CONTAINERS, Film
from tfdeblur.io import files

_WRITTEN = {
    ".avi": ".mkv",
    ".m4v": ".m4v",
    ".mkv": ".mkv",
    ".mov": ".mov",
    ".mp4": ".mp4",
    ".mpeg": ".mkv",
    ".mpg": ".mkv",
    ".mts": ".mkv",
    ".webm": ".webm",
}
SUFFIXES = tuple(_WRITTEN)
"""What is looked for in a folder."""

Change = Callable[[np.ndarray], np.ndarray]


def written_name(name: str) -> str:
    """Returns the name under which a video is written: `.mkv` where its own kind is not."""
    stem, ending = name[: name.rindex(".")], name[name.rindex(".") :]
    return name if ending.lower() in CONTAINERS else f"{stem}{_WRITTEN[ending.lower()]}"


def is_video(path: str) -> bool:
    """Tells by its name whether a file is a video."""
    return path.lower().endswith(SUFFIXES)


def rewrite(
    path: str,
    out: str,
    change: Change,
    *,
    side: str | None = None,
    pixels_at_once: int = 1,
    progress: bool = False,
) -> None:
    """Writes a video anew with every frame changed, whole or not at all.

    H.264 is written into MP4, MOV and MKV, H.265 where frames have more than 8 bits; VP9 and AV1
    into WebM. Chroma keeps its resolution, unless an odd size leaves none but the full one.
    Several pictures in one file, such as a cover, and data that are neither sound nor subtitles
    are left out with a warning.

    Args:
        path: The video, on any file system that TensorFlow reads.
        out: The new file; its suffix chooses the container.
        change: From frames uint8 or uint16 [B, H, W, 3], RGB and upright, to frames of the same
            shape and dtype.
        side: A second file, for frames of before and after beside each other, without sound.
        pixels_at_once: Frames are handed over together until their height times width times
            number exceeds this; always at least one.
        progress: Whether to show a bar over the frames.

    Raises:
        UserError: PyAV is not installed, `path` is no video, is damaged or cut off, or a file
            cannot be written; the message names it.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(path))
        films = [stack.enter_context(Film.new(out, source, sound=True))]
        if side is not None:
            films.append(stack.enter_context(Film.new(side, source, sound=False)))
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
                films[0].copy(item)
                continue
            changed = change(item.pixels)
            films[0].add(changed, item)
            if side is not None:
                films[1].add(np.concatenate([item.pixels, changed], axis=2), item)
            bar.update(len(changed))
