"""Photo formats beyond Pillow: 16 bits per channel, and TIFFs with a complete EXIF record.

Pillow reduces 16-bit color to 8 bits, and libtiff, which compresses TIFFs for it, rejects the
parts of an EXIF record that hold exposure and location. (tifffile alone reads no LZW, the usual
compression of 16-bit TIFFs, and writes no EXIF record; imagecodecs would be a large dependency.)
"""

import io
import re
import struct
import sys
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, TiffTags

from tfdeblur.errors import UserError
from tfdeblur.io.pictures import open_image
from tfdeblur.ops.lazy import tensorflow as tf

_STRIP_BYTES = 2**20  # of a TIFF, before compression
_SAME_ORDER = {"L": "L", "B": "B", "N": "N"}
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_TAG = TiffImagePlugin
_PREDICTOR = 317
_XMP = 700
_ORIENTATION = 274


def read_deep(
    image: ImageFile.ImageFile, data: bytes
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Reads an image with 16 bits per channel that Pillow would reduce to 8.

    Args:
        image: Opened, but not decoded.
        data: The file that it was opened from.

    Returns:
        uint16 [H, W] or [H, W, 3], and alpha [H, W] or None. None for all other images, which
        Pillow reads without loss. The orientation of a TIFF is applied, as Pillow does.

    Raises:
        UserError: A 16-bit variant that is not supported.
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
    """Encodes uint16 [H, W] or [H, W, C], with alpha as the last channel if any, as PNG."""
    channels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    data: bytes = tf.io.encode_png(channels).numpy()
    header = 8 + 25  # the signature and the header chunk, which must be the first
    file = io.BytesIO()
    file.write(data[:header])
    if profile:
        PngImagePlugin.putchunk(file, b"iCCP", b"ICC profile\0\0", zlib.compress(profile))
    if dpi:
        per_meter = [round(dots / 0.0254) for dots in dpi]
        PngImagePlugin.putchunk(file, b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if exif:
        PngImagePlugin.putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return file.getvalue() + data[header:]


def encode_tiff(
    pixels: np.ndarray,
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encodes uint8 or uint16 [H, W] or [H, W, C], with alpha as the last channel if any, as TIFF.

    Lossless compression: deflate over differences along the rows.

    Reference:
        Adobe, "TIFF Revision 6.0", 1992, section 14; "TIFF Technical Notes: Adobe Photoshop",
        2002, for deflate.
    """
    channels_last = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    values = channels_last.astype(pixels.dtype.newbyteorder("<"))
    height, width, channels = values.shape
    values[:, 1:] -= channels_last[:, :-1]
    rows = max(1, _STRIP_BYTES // (values.itemsize * width * channels))
    strips = [zlib.compress(values[top : top + rows].tobytes()) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    directory = _TAG.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        record = Image.Exif()
        record.load(exif)
        for tag in record:
            grouped = tag in TiffTags.TAGS_V2_GROUPS
            directory[tag] = record.get_ifd(tag) if grouped else record[tag]
        if _XMP in directory:
            # Programs would otherwise take the old orientation, which XMP repeats.
            directory[_ORIENTATION] = 1
    if profile:
        directory[_TAG.ICCPROFILE] = profile
    if dpi:
        directory[_TAG.RESOLUTION_UNIT] = 2
        directory[_TAG.X_RESOLUTION], directory[_TAG.Y_RESOLUTION] = dpi
    directory[_TAG.IMAGEWIDTH], directory[_TAG.IMAGELENGTH] = width, height
    directory[_TAG.BITSPERSAMPLE] = (8 * values.itemsize,) * channels
    directory[_TAG.SAMPLESPERPIXEL] = channels
    if channels in (2, 4):
        directory[_TAG.EXTRASAMPLES] = 2  # alpha that is not premultiplied
    directory[_TAG.PHOTOMETRIC_INTERPRETATION] = 2 if channels > 2 else 1
    directory[_TAG.PLANAR_CONFIGURATION] = 1
    directory[_TAG.COMPRESSION], directory[_PREDICTOR] = 8, 2
    directory[_TAG.ROWSPERSTRIP] = rows
    for tag in (_TAG.STRIPOFFSETS, _TAG.STRIPBYTECOUNTS):
        directory.tagtype[tag] = TiffTags.LONG
    directory[_TAG.STRIPBYTECOUNTS] = tuple(sizes)
    # Relative to the end of the directory; Pillow adds its position.
    directory[_TAG.STRIPOFFSETS] = tuple(sum(sizes[:place]) for place in range(len(sizes)))
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + b"".join(strips)


def _decode_png(image: ImageFile.ImageFile, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        array = tf.io.decode_png(data, dtype=tf.uint16).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error
    pixels, alpha = without_alpha(array)
    color = image.info.get("transparency")
    if alpha is None and color is not None:
        transparent = (array == np.asarray(color, np.uint16)).all(axis=-1)
        alpha = np.where(transparent, 0, 65535).astype(np.uint16)
    return pixels, alpha


def _bits(image: TiffImagePlugin.TiffImageFile) -> tuple[int, ...]:
    found: tuple[int, ...] = image.tag_v2.get(_TAG.BITSPERSAMPLE, ())
    return found


def _decode_tiff(
    image: TiffImagePlugin.TiffImageFile, data: bytes
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decodes the file twice with Pillow, which keeps one byte of each value per pass.

    Pillow keeps the high byte in the byte order that its raw mode names.
    """
    if image.tag_v2.get(_TAG.PLANAR_CONFIGURATION) == 2:
        raise UserError("has planar 16-bit channels; save it interleaved.")
    high = _tiff_pass(image, _SAME_ORDER)
    with open_image(io.BytesIO(data), ["TIFF"]) as reopened:
        low = _tiff_pass(reopened, _OTHER_ORDER)
    array = high.astype(np.uint16) << 8 | low
    pixels, alpha = without_alpha(array)
    if alpha is not None and image.tag_v2.get(_TAG.EXTRASAMPLES) == (1,):
        opacity = np.maximum(alpha, 1)[..., np.newaxis] / 65535
        pixels = np.minimum(np.rint(pixels / opacity), 65535).astype(np.uint16)
    return pixels, alpha


def _tiff_pass(image: ImageFile.ImageFile, order: Mapping[str, str]) -> np.ndarray:
    tiles = []
    for tile in image.tile:
        raw, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        found = re.fullmatch(r"(RGB|RGBA|RGBX|RGBa);16([LBN])", str(raw))
        if found is None:
            raise UserError(f"has 16-bit color in an unsupported raw mode ({raw}).")
        # Premultiplied color is divided by alpha later, with all its bits.
        raw = f"{found[1].replace('a', 'A')};16{order[found[2]]}"
        tiles.append(tile._replace(args=(raw, *rest)))
    image.tile = tiles
    return np.asarray(image)


def _decode_ppm(image: ImageFile.ImageFile, data: bytes, white: int) -> np.ndarray:
    if image.tile[0].codec_name != "ppm":
        raise UserError("has 16-bit color as text; save it as a binary PPM or as PNG.")
    width, height = image.size
    values = np.frombuffer(data, ">u2", width * height * 3, image.tile[0].offset)
    scaled = np.rint(np.minimum(values, white) * (65535 / white)).astype(np.uint16)
    return scaled.reshape(height, width, 3)


def without_alpha(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Splits [H, W, C] into color and alpha, which is the last of two or four channels."""
    alpha = array[..., -1] if array.shape[-1] in (2, 4) else None
    pixels = array if alpha is None else array[..., :-1]
    return (pixels[..., 0] if pixels.shape[-1] == 1 else pixels), alpha
