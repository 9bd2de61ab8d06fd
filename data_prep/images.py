"""Reading pictures from files as uint8 RGB arrays, and resizing them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from tfdeblur.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

# What Pillow raises for a file that is cut off, damaged, or no picture at all.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# EXIF orientations that swap width and height.
_TURNED = (5, 6, 7, 8)


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


@contextmanager
def _open_image(path: str) -> Iterator[Any]:
    try:
        with open_file(path) as file, Image.open(file) as picture:
            yield picture
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except _DAMAGE as error:
        raise DataError(
            f"{path} cannot be read as a picture ({error}). It is damaged or was cut off: fetch "
            "it again, or remove both halves of its pair."
        ) from error


def _orientation(picture: Any) -> int:
    # Asking a PNG without EXIF for it would decode the whole picture. Pillow turns a TIFF upright
    # by itself.
    if "exif" not in picture.info or picture.format == "TIFF":
        return 1
    return int(picture.getexif().get(0x0112, 1))


def size_of(path: str) -> tuple[int, int]:
    """Returns the width and height of a picture, upright, from its header alone.

    Raises:
        DataError: The file is missing or is no picture.
    """
    with _open_image(path) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) in _TURNED else (width, height)


def load_rgb(path: str) -> np.ndarray:
    """Reads a picture, turned upright as its EXIF data says.

    Gray becomes three equal channels, transparent parts become white, 16 bits are scaled to 8.

    Returns:
        uint8 [height, width, 3].

    Raises:
        DataError: The file is missing, damaged or truncated, or holds floating-point pixels.
    """
    with _open_image(path) as picture:
        upright = picture
        if _orientation(picture) != 1:
            upright = ImageOps.exif_transpose(picture)
        return _to_rgb(upright, path)


def _to_rgb(picture: Image.Image, path: str) -> np.ndarray:
    if picture.mode == "F":
        raise DataError(f"{path} holds floating-point pixels, whose scale is unknown.")
    if picture.mode.startswith("I"):
        # 16-bit gray; Pillow's own conversion to 8 bits would clip it.
        deep = np.asarray(picture).astype(np.int64)
        gray = np.clip((deep * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        sheet = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(sheet, layer)
    return np.array(picture.convert("RGB"))


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes a uint8 [h, w, 3] image with Pillow's bicubic filter.

    When it reduces, the filter is widened by the factor of the reduction, so nothing aliases.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(picture)
