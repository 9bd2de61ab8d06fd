"""What Pillow leaves out of photographs: 16 bits a channel, and the whole EXIF record of a TIFF.

It cuts 16-bit color down to 8 bits, and libtiff, which packs TIFFs for it, refuses the parts of an
EXIF record that hold exposure and place.
"""

import io
import re
import struct
import sys
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, TiffTags

from tfdeblur.errors import UserError

_STRIP = 2**20  # bytes of a TIFF's strip before they are packed
_SAME_ORDER = {"L": "L", "B": "B", "N": "N"}
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_TAG = TiffImagePlugin
_PREDICTOR = 317


def read_deep(
    image: ImageFile.ImageFile, data: bytes
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Reads pixels of 16 bits a channel where Pillow would cut them down to 8.

    Args:
        image: Opened, and not decoded.
        data: The file that it was opened from.

    Returns:
        uint16 [H, W] or [H, W, 3], and alpha [H, W] or None; None where Pillow can read it. A
        TIFF's orientation is applied, as Pillow does.

    Raises:
        UserError: A kind of 16-bit file that is not read.
    """
    if image.format == "PNG" and data[24] == 16:
        return _decode_png(image, data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        color = image.mode in ("RGB", "RGBA")
        return _decode_tiff(image, data) if color and 16 in _bits(image) else None
    if image.format == "PPM" and image.mode == "RGB" and image.tile:
        arguments = image.tile[0].args
        if isinstance(arguments, tuple) and arguments[-1] > 255:
            return _decode_ppm(image, data, arguments[-1]), None
    return None


def encode_png(
    pixels: np.ndarray,
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Returns uint16 [H, W] or [H, W, C], alpha among the channels, as a PNG file."""
    import tensorflow as tf

    channels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    data: bytes = tf.io.encode_png(channels).numpy()
    chunks = b""
    if profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if dpi:
        per_meter = [round(dots / 0.0254) for dots in dpi]
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if exif:
        chunks += _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    header = 8 + 25  # the signature and the header chunk, which has to be the first
    return data[:header] + chunks + data[header:]


def encode_tiff(
    pixels: np.ndarray,
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Returns uint8 or uint16 [H, W] or [H, W, C], alpha among the channels, as a TIFF file.

    Packed without loss: deflate over differences along the rows.

    Reference:
        Adobe, "TIFF Revision 6.0", 1992, section 14; "TIFF Technical Notes: Adobe Photoshop",
        2002, for deflate.
    """
    channels_last = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    values = channels_last.astype(pixels.dtype.newbyteorder("<"))
    height, width, channels = values.shape
    values[:, 1:] -= channels_last[:, :-1]
    rows = max(1, _STRIP // (values.itemsize * width * channels))
    strips = [zlib.compress(values[top : top + rows].tobytes()) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    directory = _TAG.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        record = Image.Exif()
        record.load(exif)
        for tag in record:
            grouped = tag in TiffTags.TAGS_V2_GROUPS
            directory[tag] = record.get_ifd(tag) if grouped else record[tag]
    if profile:
        directory[_TAG.ICCPROFILE] = profile
    if dpi:
        directory[_TAG.RESOLUTION_UNIT] = 2
        directory[_TAG.X_RESOLUTION], directory[_TAG.Y_RESOLUTION] = dpi
    directory[_TAG.IMAGEWIDTH], directory[_TAG.IMAGELENGTH] = width, height
    directory[_TAG.BITSPERSAMPLE] = (8 * values.itemsize,) * channels
    directory[_TAG.SAMPLESPERPIXEL] = channels
    if channels in (2, 4):
        directory[_TAG.EXTRASAMPLES] = 2  # alpha that color was not multiplied with
    directory[_TAG.PHOTOMETRIC_INTERPRETATION] = 2 if channels > 2 else 1
    directory[_TAG.PLANAR_CONFIGURATION] = 1
    directory[_TAG.COMPRESSION], directory[_PREDICTOR] = 8, 2
    directory[_TAG.ROWSPERSTRIP] = rows
    for tag in (_TAG.STRIPOFFSETS, _TAG.STRIPBYTECOUNTS):
        directory.tagtype[tag] = TiffTags.LONG
    directory[_TAG.STRIPBYTECOUNTS] = tuple(sizes)
    # Counted from the end of the directory; Pillow adds where that is.
    directory[_TAG.STRIPOFFSETS] = tuple(sum(sizes[:place]) for place in range(len(sizes)))
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + b"".join(strips)


def _decode_png(image: ImageFile.ImageFile, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    import tensorflow as tf

    try:
        array = tf.io.decode_png(data, dtype=tf.uint16).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error
    pixels, alpha = _without_alpha(array)
    transparent = image.info.get("transparency")
    if alpha is None and transparent is not None:
        through = (array == np.asarray(transparent, np.uint16)).all(axis=-1)
        alpha = np.where(through, 0, 65535).astype(np.uint16)
    return pixels, alpha


def _bits(image: TiffImagePlugin.TiffImageFile) -> tuple[int, ...]:
    found: tuple[int, ...] = image.tag_v2.get(_TAG.BITSPERSAMPLE, ())
    return found


def _decode_tiff(
    image: TiffImagePlugin.TiffImageFile, data: bytes
) -> tuple[np.ndarray, np.ndarray | None]:
    """Lets Pillow read the file twice: each pass keeps one byte of each value.

    Pillow keeps the byte that comes first in the byte order that it was told.
    """
    if image.tag_v2.get(_TAG.PLANAR_CONFIGURATION) == 2:
        raise UserError("holds 16-bit channels one after the other; save it interleaved.")
    high = _tiff_pass(image, _SAME_ORDER)
    with Image.open(io.BytesIO(data)) as again:
        low = _tiff_pass(again, _OTHER_ORDER)
    array = high.astype(np.uint16) << 8 | low
    pixels, alpha = _without_alpha(array)
    if alpha is not None and image.tag_v2.get(_TAG.EXTRASAMPLES) == (1,):
        share = np.maximum(alpha, 1)[..., np.newaxis] / 65535
        pixels = np.minimum(np.rint(pixels / share), 65535).astype(np.uint16)
    return pixels, alpha


def _tiff_pass(image: ImageFile.ImageFile, order: Mapping[str, str]) -> np.ndarray:
    tiles = []
    for tile in image.tile:
        raw, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        found = re.fullmatch(r"(RGB|RGBA|RGBX|RGBa);16([LBN])", str(raw))
        if found is None:
            raise UserError(f"holds 16-bit color as Pillow does not give it ({raw}).")
        # Color that was multiplied with alpha is divided again later, with all its bits.
        raw = f"{found[1].replace('a', 'A')};16{order[found[2]]}"
        tiles.append(tile._replace(args=(raw, *rest)))
    image.tile = tiles
    return np.asarray(image)


def _decode_ppm(image: ImageFile.ImageFile, data: bytes, white: int) -> np.ndarray:
    if image.tile[0].codec_name != "ppm":
        raise UserError("holds 16-bit color as text; save it as a binary PPM or as PNG.")
    width, height = image.size
    values = np.frombuffer(data, ">u2", width * height * 3, image.tile[0].offset)
    scaled = np.rint(np.minimum(values, white) * (65535 / white)).astype(np.uint16)
    return scaled.reshape(height, width, 3)


def _without_alpha(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Parts [H, W, C]: two and four channels end in alpha; one or two are gray."""
    alpha = array[..., -1] if array.shape[-1] in (2, 4) else None
    pixels = array if alpha is None else array[..., :-1]
    return (pixels[..., 0] if pixels.shape[-1] == 1 else pixels), alpha


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
