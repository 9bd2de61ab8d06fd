"""Reads image files as uint8 RGB arrays, and resizes them.

Images that are not plain 8-bit RGB are converted:

| kind | result |
| --- | --- |
| gray, black and white | three equal channels |
| palette | its colors |
| alpha, or one transparent color | composited over white |
| 16 bits per channel | scaled to 8 |
| CMYK, YCbCr | RGB by Pillow's plain formula; color profiles are not applied |
| EXIF orientation | rotated upright |
| several frames | the first |

All other files raise a `Fault`, which names the file: empty, truncated or damaged files, files
that are not images, anything but a regular file, dangling and circular links, images larger than
Pillow opens safely (decompression bombs), floating-point pixels, and color spaces that cannot be
converted to RGB faithfully.
"""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_prep.faults import Code, Fault
from tfdeblur.errors import UserError
from tfdeblur.io import files, pictures
from tfdeblur.ops.arrays import to_uint8

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

# Modes that Pillow converts to RGB faithfully, unlike LAB and HSV.
_KNOWN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# What turns an image upright, by its EXIF orientation; the last four swap width and height.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
# Magic numbers of the formats in SUFFIXES.
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\x00", b"MM\x00*", b"P6", b"P5")
# Words in the messages of Pillow's decoders when the bytes end too early.
_TRUNCATED = ("truncated", "unexpected end", "not enough", "failed to read", "end of file")

# Errors of a path, as opposed to errors of a disk or a network, which may pass.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
_AGAIN = "Run the same command again."


def is_picture(name: str) -> bool:
    """Returns whether a file is an image, by its name; hidden files are not."""
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading on any file system that TensorFlow supports.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if "://" not in path:
        return open(path, "rb")
    # Imported here so that workers that read local files start without TensorFlow.
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(path)
    file: BinaryIO = tf.io.gfile.GFile(path, "rb")
    return file


@contextmanager
def open_image(path: str) -> Iterator[Any]:
    """Opens an image; its pixels are decoded on first use, inside the `with` block.

    Raises:
        Fault: The file is missing, damaged or not an image; also inside the `with` block.
    """
    try:
        files.require_regular_file(path)
    except UserError as error:
        raise Fault("not-a-file", path, f"{error} Remove or rename it.") from error
    try:
        with open_file(path) as file, pictures.open_image(file) as picture:
            yield picture
    except UserError:
        raise
    except FileNotFoundError as error:
        raise Fault("not-a-file", path, f"{path} does not exist.") from error
    except Exception as error:  # decoders raise almost any type for damaged data
        raise fault_of(path, error) from error


def fault_of(path: str, error: Exception) -> Fault:
    """Returns an error with the reason why a file cannot be read, and the remedy."""
    code, reason, remedy = _diagnose(path, error)
    return Fault(code, path, f"{path} cannot be read as an image ({reason}). {remedy}")


def _diagnose(path: str, error: Exception) -> tuple[Code, str, str]:
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return (
            "too-large",
            f"it claims more than {limit:,} pixels, as a decompression bomb would",
            "Remove it, or split it into smaller images with another program.",
        )
    if isinstance(error, MemoryError):
        return "unavailable", "it does not fit into memory", "Free some memory, or remove it."
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "not-a-file", "the link points to itself", "Remove the link."
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return "not-a-file", error.strerror or str(error), "Make the file readable."
    # Damaged offsets raise EINVAL.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return "unavailable", error.strerror or str(error), _AGAIN
    tf = sys.modules.get("tensorflow")  # which reads paths with a scheme
    if tf is not None and isinstance(error, tf.errors.PermissionDeniedError):
        return "not-a-file", "permission denied", "Make the file readable."
    if tf is not None and isinstance(error, tf.errors.OpError):
        return "unavailable", str(error.message), _AGAIN
    return "unreadable", _damage(path, error), "Fetch it again, or remove both halves of its pair."


def _damage(path: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        with open_file(path) as file:
            head = file.read(64)
        if not head:
            return "it is empty"
        if not head.startswith(_SIGNATURES):
            return f"it is not an image: it starts with {head[:16]!r}"
        # Even the first chunk of a PNG has 33 bytes.
        if len(head) < 64:
            return f"it was truncated to {len(head)} bytes"
        return "its header is damaged, or of a kind that Pillow does not support"
    message = str(error) or type(error).__name__
    if isinstance(error, EOFError) or any(word in message.lower() for word in _TRUNCATED):
        return f"it was truncated: {message}"
    return f"it is damaged: {message}"


def orientation(picture: Any) -> int:
    """Returns the EXIF orientation of an open image, 1 for upright or damaged EXIF data."""
    # `getexif` would decode a whole PNG without EXIF data. Pillow itself rotates TIFF images.
    if "exif" not in picture.info or picture.format == "TIFF":
        return 1
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # of almost any type; the pixels are intact
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def upright_size(picture: Any) -> tuple[int, int]:
    """Returns the height and width of an open image after EXIF rotation."""
    width, height = picture.size
    return (width, height) if orientation(picture) in _SIDEWAYS else (height, width)


# Faults of files by path, found by decoding them.
_known: dict[str, Fault] = {}


@contextmanager
def refusing(found: Iterable[Fault]) -> Iterator[None]:
    """Makes `size_of` raise faults that it does not find itself; for the whole process."""
    _known.update((fault.file, fault) for fault in found)
    try:
        yield
    finally:
        _known.clear()


def size_of(path: str) -> tuple[int, int]:
    """Returns the height and width of an image after EXIF rotation; reads only its header.

    Raises:
        Fault: The file is missing or not an image, or is known to have a fault (`refusing`).
    """
    if path in _known:
        raise _known[path]
    with open_image(path) as picture:
        return upright_size(picture)


def load_rgb(path: str) -> np.ndarray:
    """Reads an image, rotated upright by its EXIF data; see the table above.

    Returns:
        uint8 [height, width, 3], read-only.

    Raises:
        Fault: The file is missing, damaged or truncated, or its pixels are not supported.
    """
    with open_image(path) as picture:
        return to_rgb(picture, path)


def to_rgb(picture: Any, path: str) -> np.ndarray:
    """Returns the pixels of an open image as `load_rgb` does.

    Raises:
        Fault: The pixels are floating-point or in a color space that is not supported.
    """
    turn = _TURNS.get(orientation(picture))
    if turn is not None:
        # Pillow's `exif_transpose` also writes the EXIF data, which may be damaged.
        picture = picture.transpose(turn)
    if picture.mode == "F":
        raise Fault(
            "unsupported-pixels",
            path,
            f"{path} has floating-point pixels of unknown scale. Convert it to 8-bit RGB.",
        )
    if picture.mode.startswith("I"):
        # 16-bit gray; Pillow's conversion to 8 bits would clip it.
        gray = to_uint8(np.clip(np.asarray(picture), 0, 65535).astype(np.uint16))
        return np.repeat(gray[:, :, None], 3, axis=2)
    if picture.mode not in _KNOWN_MODES:
        raise Fault(
            "unsupported-pixels",
            path,
            f"{path} has {picture.mode} pixels, which cannot be converted to RGB faithfully. "
            "Convert it to 8-bit RGB with another program.",
        )
    picture.load()
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        sheet = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(sheet, layer)
    # A copy of an RGB image would take as long as writing the shard.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a uint8 [h, w, 3] image with Pillow's bicubic filter.

    Downscaling widens the filter by the scale factor, which prevents aliasing.

    Args:
        image: The image.
        size: Height and width of the result.
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(picture)
