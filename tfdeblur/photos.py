"""Photographs as files: read as they were taken, written back as they were found.

Pixels come with their orientation applied. The alpha channel, the color profile, the resolution
and the EXIF record are kept and written back. 16-bit PNGs stay 16-bit.
"""

import contextlib
import dataclasses
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from tfdeblur import files
from tfdeblur.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What is looked for in a folder; a file given by name may have any suffix Pillow reads."""

MOST_PIXELS = 2**30
"""A file that claims more is taken for a decompression bomb."""

_FORMATS = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    # Nothing of the restored detail is given away to smaller files.
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
    "TIFF": {"compression": "tiff_deflate"},
}
_WITH_ALPHA = ("PNG", "TIFF", "WEBP")
_SIXTEEN_BITS = ("PNG", "TIFF")

_pillow_limit = threading.Lock()


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photograph in memory.

    Attributes:
        pixels: uint8 or uint16, [H, W] if gray, else [H, W, 3] RGB, upright.
        alpha: [H, W] of the same dtype, or None.
        profile: ICC color profile, or None.
        exif: EXIF record without an orientation, or None.
        dpi: Resolution across and down, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def suffix(path: str) -> str:
    """Returns the ending of a file name in lower case, with its dot."""
    name = files.base_name(path)
    stem, dot, ending = name.rpartition(".")
    return f"{dot}{ending}".lower() if stem else ""


def written_name(name: str) -> str:
    """Returns the name under which a photo is written: `.png` where its own kind is not written."""
    if suffix(name) in _FORMATS:
        return name
    stem = name[: -len(suffix(name))] if suffix(name) in SUFFIXES else name
    return f"{stem}.png"


def read_photo(path: str) -> Photo:
    """Reads a photograph.

    Palettes are resolved; CMYK is converted to sRGB, through its color profile if it has one.
    Of a camera's multi-picture file the first is taken.

    Args:
        path: Any scheme TensorFlow reads.

    Raises:
        UserError: The file is missing, damaged, animated, not an image that Pillow reads, or of
            floating-point pixels; the message names it.
    """
    data = files.read_bytes(path)
    with _any_size():
        try:
            with Image.open(io.BytesIO(data)) as image:
                return _photo(image, data)
        except UserError as error:
            raise UserError(f"{path} {error}") from error
        except UnidentifiedImageError as error:
            raise UserError(f"{path} is not an image that Pillow can read.") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"{path} claims more than {MOST_PIXELS:,} pixels.") from error
        except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
            raise UserError(f"{path} is damaged or cut off: {error}.") from error


def write_photo(path: str, photo: Photo) -> None:
    """Writes a photograph whole or not at all; the suffix of `path` chooses the format.

    What a format cannot hold is left out: alpha in a JPEG or BMP, 16 bits anywhere but in PNG and
    gray TIFF.

    Raises:
        UserError: The suffix is none that is written, or the file cannot be written.
    """
    kind = _FORMATS.get(suffix(path))
    if kind is None:
        raise UserError(f"{path}: photos are written as {', '.join(_FORMATS)}.")
    pixels, alpha = photo.pixels, photo.alpha if kind in _WITH_ALPHA else None
    deep = pixels.dtype == np.uint16
    if deep and kind == "PNG":
        files.write_bytes(path, _deep_png(photo))
        return
    if deep and (kind not in _SIXTEEN_BITS or pixels.ndim == 3 or alpha is not None):
        pixels, alpha = _to_eight_bits(pixels), None if alpha is None else _to_eight_bits(alpha)
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    buffer = io.BytesIO()
    extras = {"icc_profile": photo.profile, "exif": photo.exif, "dpi": photo.dpi}
    Image.fromarray(pixels).save(
        buffer, kind, **_OPTIONS.get(kind, {}), **{k: v for k, v in extras.items() if v}
    )
    files.write_bytes(path, buffer.getvalue())


def _photo(image: Image.Image, data: bytes) -> Photo:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UserError(
            f"holds {image.n_frames} pictures; only single pictures are restored."  # type: ignore[attr-defined]  # only the formats that have frames define it
        )
    exif = image.getexif()
    orientation = exif.pop(ExifTags.Base.Orientation, 1)
    profile = image.info.get("icc_profile")
    if _is_deep_color_png(image, data):
        pixels, alpha = _decode_deep_png(data)
    else:
        image, profile = _plain_mode(image, profile)
        array = np.asarray(image)
        pixels, alpha = _without_alpha(array, image.mode)
    return Photo(
        pixels=_upright(pixels, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        profile=profile,
        exif=exif.tobytes() if len(exif) else None,
        dpi=_dpi(image.info.get("dpi")),
    )


def _plain_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Brings an image to L, LA, RGB, RGBA or I;16, and drops a profile that no longer fits."""
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info:
        return image, profile
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("holds 32-bit values; only 8 and 16 bits are restored.")
        return Image.fromarray(values.astype(np.uint16)), profile
    if mode == "F":
        raise UserError("holds floating-point pixels; only 8 and 16 bits are restored.")
    if mode == "CMYK":
        return _from_cmyk(image, profile), None
    if mode in ("1", "L", "La"):
        has_alpha = mode == "La" or "transparency" in image.info
        return image.convert("LA" if has_alpha else "L"), profile
    has_alpha = mode in ("PA", "RGBa", "RGBA") or "transparency" in image.info
    kept = profile if mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr") else None
    return image.convert("RGBA" if has_alpha else "RGB"), kept


def _from_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            if converted is not None:
                return converted
    return image.convert("RGB")


def _without_alpha(array: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray | None]:
    if mode not in ("LA", "RGBA"):
        return array, None
    pixels = array[..., :-1]
    return (pixels[..., 0] if mode == "LA" else pixels), array[..., -1]


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8; anything else counts as upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def _is_deep_color_png(image: Image.Image, data: bytes) -> bool:
    # Bit depth and color type of the header chunk. Pillow cuts 16-bit color down to 8 bits.
    return image.format == "PNG" and data[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")


def _decode_deep_png(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    import tensorflow as tf

    try:
        array = tf.io.decode_png(data, dtype=tf.uint16).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error
    alpha = array[..., -1] if array.shape[-1] in (2, 4) else None
    pixels = array if alpha is None else array[..., :-1]
    return (pixels[..., 0] if pixels.shape[-1] == 1 else pixels), alpha


def _deep_png(photo: Photo) -> bytes:
    import tensorflow as tf

    pixels = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., np.newaxis]
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    data: bytes = tf.io.encode_png(pixels).numpy()
    chunks = b""
    if photo.profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.profile))
    if photo.dpi:
        per_meter = [round(dots / 0.0254) for dots in photo.dpi]
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    header = 8 + 25  # the signature and the header chunk, which has to be the first
    return data[:header] + chunks + data[header:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257.0).astype(np.uint8)


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(dots) for dots in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if across > 0 and down > 0 else None


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lifts Pillow's limit on the number of pixels: these are the person's own files."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice this
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
