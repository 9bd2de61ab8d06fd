"""Reading pictures from files as uint8 RGB arrays, and resizing them.

What becomes of pictures that are not plain 8-bit RGB:

| kind | becomes |
| --- | --- |
| gray, black and white | three equal channels |
| palette | the colors that it stands for |
| alpha, or one transparent color | laid over white |
| 16 bits a channel | scaled to 8 |
| CMYK, YCbCr | RGB by Pillow's plain formula; color profiles are not applied |
| EXIF orientation | turned upright |
| several frames | the first |

Whatever cannot be read is refused by an `Unreadable` that names the file: one that is empty, cut
off, damaged, no picture, no plain file, a link to nowhere or in a circle, larger than Pillow opens
safely (a decompression bomb), of floating-point pixels, or of colors that cannot be turned into
RGB.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfdeblur.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

Trouble = Literal[
    "missing",
    "empty-file",
    "not-a-file",
    "not-a-picture",
    "truncated",
    "damaged",
    "too-large",
    "float-pixels",
    "odd-colors",
]

# What Pillow raises for a file that is cut off, damaged, or no picture at all.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# Kinds of pixels that Pillow turns into RGB with their colors kept; LAB and HSV it would not.
_KNOWN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# EXIF orientations that swap width and height.
TURNED = (5, 6, 7, 8)
# How files of the kinds in SUFFIXES begin.
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\x00", b"MM\x00*", b"P6", b"P5")
# What Pillow says, in whichever decoder, when the bytes end too early.
_CUT = ("truncated", "unexpected end", "not enough", "failed to read", "end of file")


class Unreadable(DataError):
    """A file that cannot be read as a picture; `trouble` says in a word why."""

    def __init__(self, path: str, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.trouble = trouble

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send it to the main process; an exception is rebuilt from its message alone.
        return type(self), (self.path, self.trouble, str(self))


def is_picture(name: str) -> bool:
    """Tells by its name whether a file is a picture; hidden files are not."""
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading, here or on any file system that TensorFlow reads.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if "://" not in path:
        return open(path, "rb")
    # Only here, so that workers that read local files start without TensorFlow.
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(path)
    file: BinaryIO = tf.io.gfile.GFile(path, "rb")
    return file


def _check_plain(path: str) -> None:
    # Opening a pipe would wait for somebody who writes into it.
    if "://" in path:
        return
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no plain file"
        raise Unreadable(
            path,
            "not-a-file",
            f"{path} cannot be read as a picture: it is {what}, though its name is that of a "
            "picture. Remove it or give it another name.",
        )


@contextmanager
def open_image(path: str) -> Iterator[Any]:
    """Opens a picture; its pixels are decoded when they are asked for, inside the `with`.

    Raises:
        Unreadable: The file is missing, damaged or no picture, on opening or inside the `with`.
    """
    try:
        _check_plain(path)
        with open_file(path) as file, Image.open(file) as picture:
            yield picture
    except FileNotFoundError as error:
        link = "is a link to a file that " if os.path.islink(path) else ""
        raise Unreadable(path, "missing", f"{path} {link}does not exist.") from error
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> Unreadable:
    """Says why a file cannot be read as a picture, and what to do."""
    trouble, reason, cure = _diagnose(path, error)
    return Unreadable(path, trouble, f"{path} cannot be read as a picture ({reason}). {cure}")


def _diagnose(path: str, error: Exception) -> tuple[Trouble, str, str]:
    again = "Fetch it again, or remove both halves of its pair."
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return (
            "too-large",
            f"it claims more than {limit:,} pixels, as a decompression bomb would",
            "Remove it, or cut it into smaller pictures by another program.",
        )
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "not-a-file", "a link that leads to itself", "Remove the link."
    if isinstance(error, OSError) and error.errno is not None:
        return "not-a-file", error.strerror or str(error), "Make the file readable."
    if isinstance(error, UnidentifiedImageError):
        with open_file(path) as file:
            head = file.read(64)
        if not head:
            return "empty-file", "it is empty: zero bytes", again
        if not head.startswith(_BEGINNINGS):
            return "not-a-picture", f"it is no picture: it begins with {head[:16]!r}", again
        # The first block of a PNG alone has 33 bytes.
        if len(head) < 64:
            return "truncated", f"it was truncated: only {len(head)} bytes are there", again
        return "damaged", "its head is damaged, or of a kind that Pillow does not know", again
    said = str(error) or type(error).__name__
    if isinstance(error, EOFError) or any(word in said.lower() for word in _CUT):
        return "truncated", f"it was cut off: {said}", again
    return "damaged", f"it is damaged: {said}", again


def orientation(picture: Any) -> int:
    """Returns the EXIF orientation of an open picture, 1 for upright."""
    # Asking a PNG without EXIF for it would decode the whole picture. Pillow turns a TIFF upright
    # by itself.
    if "exif" not in picture.info or picture.format == "TIFF":
        return 1
    return int(picture.getexif().get(0x0112, 1))


def size_of(path: str) -> tuple[int, int]:
    """Returns the width and height of a picture, upright, from its header alone.

    Raises:
        Unreadable: The file is missing or is no picture.
    """
    with open_image(path) as picture:
        width, height = picture.size
        return (height, width) if orientation(picture) in TURNED else (width, height)


def load_rgb(path: str) -> np.ndarray:
    """Reads a picture, turned upright as its EXIF data says; see the table above.

    Returns:
        uint8 [height, width, 3], not to be written into.

    Raises:
        Unreadable: The file is missing, damaged or truncated, or its pixels have no plain meaning.
    """
    with open_image(path) as picture:
        return to_rgb(picture, path)


def to_rgb(picture: Any, path: str) -> np.ndarray:
    """Returns the pixels of an open picture as `load_rgb` does.

    Raises:
        Unreadable: They are floating-point numbers or of colors that cannot be turned into RGB.
    """
    if orientation(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise Unreadable(
            path, "float-pixels", f"{path} holds floating-point pixels, whose scale is unknown."
        )
    if picture.mode.startswith("I"):
        # 16-bit gray; Pillow's own conversion to 8 bits would clip it.
        deep = np.asarray(picture).astype(np.int64)
        gray = np.clip((deep * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if picture.mode not in _KNOWN_MODES:
        raise Unreadable(
            path,
            "odd-colors",
            f"{path} has colors of the kind {picture.mode}, which cannot be turned into RGB "
            "faithfully. Convert it by another program.",
        )
    picture.load()
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        sheet = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(sheet, layer)
    # Copies cost as much time as writing the shard does, so none is made of what is RGB already.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes a uint8 [h, w, 3] image with Pillow's bicubic filter.

    When it reduces, the filter is widened by the factor of the reduction, so nothing aliases.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(picture)
