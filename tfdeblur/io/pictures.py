"""Opening of picture files: the formats that are decoded, wherever a file comes from."""

import functools
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image, ImageFile

RASTER_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "GIF",
    "PPM",
    "AVIF",
    "JPEG2000",
    "TGA",
    "HEIF",
    "DIB",
    "PCX",
    "QOI",
    "SGI",
)
"""Pillow's names of the formats that are opened.

All hold pixels only. Pillow also opens programs and references: an EPS file, whatever its suffix,
is run by Ghostscript.
"""


@functools.cache
def has_heif() -> bool:
    """Returns whether Pillow reads and writes HEIC and HEIF files: with pillow-heif it does."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def open_image(
    file: str | BinaryIO, formats: Sequence[str] = RASTER_FORMATS
) -> ImageFile.ImageFile:
    """Opens a picture; reads its header only.

    Args:
        file: Local path or open file.
        formats: Pillow's names of the formats to try.

    Returns:
        The picture, whose pixels Pillow decodes when they are first used.

    Raises:
        PIL.UnidentifiedImageError: The file has none of these formats.
        Exception: Pillow's decoders raise almost any type for damaged data.
    """
    Image.init()
    if "HEIF" in formats:
        has_heif()
    # AVIF depends on the build of Pillow, and HEIF on the package pillow-heif.
    return Image.open(file, formats=[name for name in formats if name in Image.OPEN])
