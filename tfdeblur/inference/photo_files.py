"""Reading and writing of photographs with everything that a restoration must keep.

`tfdeblur.inference.restorer` restores them. Pixels are returned upright. The alpha channel, the
color profile, the resolution and the EXIF record are read and written back. PNG and TIFF files with
16 bits per channel keep them.
"""

import contextlib
import dataclasses
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tqdm
from PIL import ExifTags, Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from tfdeblur.errors import UserError
from tfdeblur.inference import photo_codecs
from tfdeblur.io import files
from tfdeblur.io.pictures import has_heif, open_image
from tfdeblur.ops.arrays import to_uint8

_SUFFIXES = (
    ".avif .bmp .gif .heic .heif .hif .jfif .jp2 .jpe .jpeg .jpg .mpo .pgm .png .ppm .tga .tif "
    ".tiff .webp"
)
SUFFIXES = tuple(_SUFFIXES.split())
"""Suffixes searched for in folders; a file given by name may have any.

The format is detected from the content; see `tfdeblur.io.pictures.RASTER_FORMATS`.
"""

MAX_PIXELS = 2**30
"""Files that claim more pixels are rejected as decompression bombs."""

_FORMATS = {
    ".bmp": "BMP",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "HEIF": {"quality": 95},
    # Quality over file size, to keep the restored detail.
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}
_WITH_ALPHA = ("HEIF", "PNG", "TIFF", "WEBP")
_SIXTEEN_BITS = ("PNG", "TIFF")
_MAX_DPI = 65535
"""Limit of JPEG."""

_HEIC = (b"heic", b"heim", b"heis", b"heix", b"mif1", b"msf1")

_LAYOUT_TAGS = (
    *range(254, 269),
    *range(273, 282),
    284,
    *range(288, 294),
    301,
    317,
    *range(320, 348),
    *range(512, 533),
    34377,
    34675,
    37724,
)
"""EXIF and TIFF tags that describe the pixel layout of the file they were read from, or hold its
pixels once more (Photoshop's resources and layers)."""
_XMP = 700
"""Tag of a TIFF's XMP packet, which is no part of the EXIF record of other formats."""

_pillow_lock = threading.Lock()
_readers = 0
_settings = contextlib.ExitStack()
_own = threading.local()


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photograph in memory.

    Attributes:
        pixels: uint8 or uint16, [H, W] if gray, else [H, W, 3] RGB, upright.
        alpha: [H, W] of the same dtype, or None.
        profile: ICC color profile, or None.
        exif: EXIF record without an orientation, or None.
        dpi: Horizontal and vertical resolution in dots per inch, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def suffix(path: str) -> str:
    """Returns the suffix of a file name in lower case, with its dot."""
    name = files.base_name(path)
    stem, dot, ending = name.rpartition(".")
    return f"{dot}{ending}".lower() if stem else ""


def written_name(name: str) -> str:
    """Returns the output name of a photo, with `.png` if its own format cannot be written."""
    if _written_format(name) is not None:
        return name
    stem = name[: -len(suffix(name))] if suffix(name) in SUFFIXES else name
    return f"{stem}.png"


def _written_format(path: str) -> str | None:
    """Returns Pillow's name of the format in which a file is written; None if it cannot be."""
    kind = _FORMATS.get(suffix(path))
    return None if kind == "HEIF" and not has_heif() else kind


def read_photo(path: str, check: Callable[[int, int], None] | None = None) -> Photo:
    """Reads a photograph.

    Palettes are resolved; CMYK is converted to sRGB, through its color profile if it has one. A
    multi-picture file of a camera yields its first picture, and a HEIF file its primary one. Color
    of 16 bits per channel is read from PNG, TIFF and PPM; from other formats Pillow reads 8.

    Args:
        path: Any scheme TensorFlow reads.
        check: Called with height and width before any pixel is decoded; may raise a UserError.

    Raises:
        UserError: The file is missing, damaged, animated, not a raster image, or has
            floating-point pixels; the message names it.
    """
    files.require_regular_file(path)
    return decode_photo(files.read_bytes(path), path, check)


def decode_photo(data: bytes, path: str, check: Callable[[int, int], None] | None = None) -> Photo:
    """Decodes the bytes of a photograph; see `read_photo`.

    Args:
        data: Content of a file.
        path: Its name, for messages.
        check: See `read_photo`.

    Raises:
        UserError: As for `read_photo`; its cause is the error of Pillow.
    """
    if not data:
        raise UserError(f"{path} is empty.")
    with _pillow(path):
        try:
            with open_image(io.BytesIO(data)) as image:
                if check is not None:
                    check(image.height, image.width)
                return _photo(image, data)
        except UserError as error:
            raise UserError(f"{path} {error}") from error
        except UnidentifiedImageError as error:
            hint = ""
            if data[8:12] in _HEIC and not has_heif():
                hint = " HEIC needs pillow-heif: pip install 'tfdeblur[heif]'."
            raise UserError(f"{path} is not an image that Pillow can read.{hint}") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"{path} claims more than {MAX_PIXELS:,} pixels.") from error
        except MemoryError as error:
            raise UserError(f"{path} does not fit into memory.") from error
        except Exception as error:  # decoders raise almost any type for damaged data
            raise UserError(f"{path} is damaged or truncated: {error}.") from error


def write_photo(path: str, photo: Photo) -> None:
    """Writes a photograph atomically, in the format of the suffix.

    What a format does not support is dropped: alpha in JPEG and BMP, 16 bits in all formats but
    PNG and TIFF.

    Raises:
        UserError: The suffix is not supported, the photo is too large for the format, or the file
            cannot be written.
    """
    files.write_bytes(path, encode_photo(path, photo))


def encode_photo(path: str, photo: Photo) -> bytes:
    """Returns the content of a photograph's file, in the format of the suffix.

    Raises:
        UserError: As for `write_photo`.
    """
    kind = _written_format(path)
    if kind is None:
        known = [ending for ending in _FORMATS if _written_format(f"x{ending}")]
        hint = " (HEIC with pillow-heif: pip install 'tfdeblur[heif]')" if not has_heif() else ""
        raise UserError(f"{path}: photos can be written as {', '.join(known)}{hint}.")
    pixels, alpha = photo.pixels, photo.alpha if kind in _WITH_ALPHA else None
    deep = pixels.dtype == np.uint16
    if deep and kind not in _SIXTEEN_BITS:
        pixels, alpha = to_uint8(pixels), None if alpha is None else to_uint8(alpha)
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    try:
        return _encoded(kind, pixels, photo)
    except Exception as error:  # encoders raise various types for an image that is too large
        height, width = pixels.shape[:2]
        raise UserError(
            f"{path}: a photo of {width}x{height} cannot be written as {kind}: {error}."
        ) from error


def _encoded(kind: str, pixels: np.ndarray, photo: Photo) -> bytes:
    extras: dict[str, Any] = {"exif": photo.exif, "dpi": photo.dpi}
    if kind == "TIFF":
        return photo_codecs.encode_tiff(pixels, profile=photo.profile, **extras)
    extras["exif"] = _without_xmp(photo.exif)
    if pixels.dtype == np.uint16:
        return photo_codecs.encode_png(pixels, profile=photo.profile, **extras)
    extras |= {"icc_profile": photo.profile}
    buffer = io.BytesIO()
    given = {key: value for key, value in extras.items() if value}
    Image.fromarray(pixels).save(buffer, kind, **_OPTIONS.get(kind, {}), **given)
    return buffer.getvalue()


def _without_xmp(exif: bytes | None) -> bytes | None:
    record = Image.Exif()
    record.load(exif or b"")
    if record.pop(_XMP, None) is None:
        return exif
    return record.tobytes() if len(record) else None


def _photo(image: ImageFile.ImageFile, data: bytes) -> Photo:
    if getattr(image, "n_frames", 1) > 1 and image.format not in ("HEIF", "MPO"):
        raise UserError(
            f"holds {image.n_frames} images; only single images are restored."  # type: ignore[attr-defined]  # defined by formats with frames
        )
    profile = image.info.get("icc_profile")
    if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
        # Pillow scales pixels of 2 and 4 bits to 8, but not the level that is transparent.
        image.info["transparency"] *= 255 // (2 ** min(data[24], 8) - 1)
    deep = photo_codecs.read_deep(image, data)
    if deep is not None:
        pixels, alpha = deep
    else:
        plain, profile = _plain_mode(image, profile)
        pixels, alpha = photo_codecs.without_alpha(np.atleast_3d(np.asarray(plain)))
    # After decoding: Pillow applies the orientation of a TIFF itself and removes the tag.
    exif, orientation = _exif(image)
    return Photo(
        pixels=_upright(pixels, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        profile=profile,
        exif=exif,
        dpi=_dpi(image),
    )


def _exif(image: Image.Image) -> tuple[bytes | None, int]:
    """Returns the EXIF record without layout tags and orientation, and the orientation."""
    orientation = 1
    try:
        record = image.getexif()
        orientation = record.get(ExifTags.Base.Orientation, 1)
        for tag in _LAYOUT_TAGS:
            record.pop(tag, None)
        record.bigtiff = False
        return record.tobytes() if len(record) else None, orientation
    except Exception:  # as from any decoder; the pixels are intact
        warnings.warn("the EXIF record is damaged and was dropped", stacklevel=2)
        return None, orientation


def _plain_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Converts an image to L, LA, RGB, RGBA or I;16; drops a profile that no longer applies."""
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info:
        return image, profile
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("has 32 bits per channel; 8 and 16 are supported.")
        values = values.astype(np.uint16)
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]  # defined by TIFFs
            values = ~values  # white is zero; Pillow inverts 8 bits only
        return Image.fromarray(values), profile
    if mode == "F":
        raise UserError("has floating-point pixels; 8 and 16 bits are supported.")
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


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8; other values count as upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def _dpi(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    # Pillow reports 1 dpi for a TIFF without resolution.
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and TiffImagePlugin.X_RESOLUTION not in image.tag_v2
    ):
        return None
    try:
        across, down = (float(dots) for dots in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < min(across, down) <= max(across, down) <= _MAX_DPI else None


@contextlib.contextmanager
def _pillow(path: str) -> Iterator[None]:
    """Raises Pillow's pixel limit, and prints its warnings with the name of the file.

    Both are settings of the process: the first of the threads that read at the same time makes
    them, the last restores them.
    """
    global _readers
    caught: list[str] = []
    with _pillow_lock:
        if not _readers:
            _settings.enter_context(_pillow_settings())
        _readers += 1
    _own.caught = caught
    try:
        yield
    finally:
        _own.caught = None
        with _pillow_lock:
            _readers -= 1
            if not _readers:
                _settings.close()
    # Only of reads that succeeded, and once each: Pillow repeats itself for each damaged entry.
    for text in dict.fromkeys(caught):
        tqdm.tqdm.write(f"warning: {path}: {text}.")


@contextlib.contextmanager
def _pillow_settings() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow rejects twice this
    try:
        with warnings.catch_warnings():
            show = warnings.showwarning

            def collect(message: Warning | str, *where: Any, **more: Any) -> None:
                caught = getattr(_own, "caught", None)
                if caught is None:  # of a thread that reads no photo
                    show(message, *where, **more)
                else:
                    caught.append(str(message).split(".")[0].strip())

            warnings.simplefilter("always")
            # A user's own large photo is not an attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.showwarning = collect
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
