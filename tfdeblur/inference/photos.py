"""Photographs as files: read as they were taken, written back as they were found.

Pixels come with their orientation applied. The alpha channel, the color profile, the resolution
and the EXIF record are kept and written back. PNG and TIFF files of 16 bits stay so.
"""

import contextlib
import dataclasses
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from tfdeblur.errors import UserError
from tfdeblur.inference import photo_codecs
from tfdeblur.io import files

_SUFFIXES = (
    ".avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .mpo .pgm .png .ppm .tga .tif "
    ".tiff .webp"
)
SUFFIXES = tuple(_SUFFIXES.split())
"""What is looked for in a folder; a file given by name may have any suffix Pillow reads."""

MOST_PIXELS = 2**30
"""A file that claims more is taken for a decompression bomb."""

_FORMATS = {
    ".bmp": "BMP",
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
    # Nothing of the restored detail is given away to smaller files.
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}
_WITH_ALPHA = ("PNG", "TIFF", "WEBP")
_SIXTEEN_BITS = ("PNG", "TIFF")
_MOST_DPI = 65535
"""JPEG holds no more."""

_HEIC = (b"heic", b"heim", b"heis", b"heix")

_HOW_PIXELS_LIE = (
    *range(254, 269),
    *range(273, 282),
    284,
    *range(288, 294),
    301,
    317,
    *range(320, 348),
    *range(512, 533),
    34675,
)
"""Tags of an EXIF record, or of a TIFF, that say how the old file's pixels lie in it."""

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
    Of a camera's multi-picture file the first is taken. Color of 16 bits is read from PNG, TIFF
    and PPM; of other kinds Pillow gives 8.

    Args:
        path: Any scheme TensorFlow reads.

    Raises:
        UserError: The file is missing, damaged, animated, not an image that Pillow reads, or of
            floating-point pixels; the message names it.
    """
    files.refuse_endless(path)
    data = files.read_bytes(path)
    if not data:
        raise UserError(f"{path} is empty.")
    with _pillow(path):
        try:
            with Image.open(io.BytesIO(data)) as image:
                return _photo(image, data)
        except UserError as error:
            raise UserError(f"{path} {error}") from error
        except UnidentifiedImageError as error:
            hint = " Export it as JPEG or PNG first." if data[8:12] in _HEIC else ""
            raise UserError(f"{path} is not an image that Pillow can read.{hint}") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"{path} claims more than {MOST_PIXELS:,} pixels.") from error
        except MemoryError as error:
            raise UserError(f"{path} does not fit into memory.") from error
        except Exception as error:  # decoders raise almost anything over bytes that are wrong
            raise UserError(f"{path} is damaged or cut off: {error}.") from error


def write_photo(path: str, photo: Photo) -> None:
    """Writes a photograph whole or not at all; the suffix of `path` chooses the format.

    What a format cannot hold is left out: alpha in a JPEG or BMP, 16 bits anywhere but in PNG and
    TIFF.

    Raises:
        UserError: The suffix is none that is written, the photo does not fit into such a file, or
            the file cannot be written.
    """
    kind = _FORMATS.get(suffix(path))
    if kind is None:
        raise UserError(f"{path}: photos are written as {', '.join(_FORMATS)}.")
    pixels, alpha = photo.pixels, photo.alpha if kind in _WITH_ALPHA else None
    deep = pixels.dtype == np.uint16
    if deep and kind not in _SIXTEEN_BITS:
        pixels, alpha = _to_eight_bits(pixels), None if alpha is None else _to_eight_bits(alpha)
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    try:
        data = _encoded(kind, pixels, photo)
    except Exception as error:  # encoders say in many ways that a picture is too large for them
        height, width = pixels.shape[:2]
        raise UserError(
            f"{path}: a photo of {width}x{height} cannot be written as {kind}: {error}."
        ) from error
    files.write_bytes(path, data)


def _encoded(kind: str, pixels: np.ndarray, photo: Photo) -> bytes:
    extras: dict[str, Any] = {"exif": photo.exif, "dpi": photo.dpi}
    if kind == "TIFF":
        return photo_codecs.encode_tiff(pixels, profile=photo.profile, **extras)
    if pixels.dtype == np.uint16:
        return photo_codecs.encode_png(pixels, profile=photo.profile, **extras)
    extras |= {"icc_profile": photo.profile}
    buffer = io.BytesIO()
    given = {key: value for key, value in extras.items() if value}
    Image.fromarray(pixels).save(buffer, kind, **_OPTIONS.get(kind, {}), **given)
    return buffer.getvalue()


def _photo(image: ImageFile.ImageFile, data: bytes) -> Photo:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UserError(
            f"holds {image.n_frames} pictures; only single pictures are restored."  # type: ignore[attr-defined]  # only the formats that have frames define it
        )
    profile = image.info.get("icc_profile")
    deep = photo_codecs.read_deep(image, data)
    if deep is not None:
        pixels, alpha = deep
    else:
        plain, profile = _plain_mode(image, profile)
        pixels, alpha = _without_alpha(np.asarray(plain), plain.mode)
    # After the pixels: Pillow stands a TIFF upright by itself, and then forgets how it lay.
    exif, orientation = _exif(image)
    return Photo(
        pixels=_upright(pixels, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        profile=profile,
        exif=exif,
        dpi=_dpi(image.info.get("dpi")),
    )


def _exif(image: Image.Image) -> tuple[bytes | None, int]:
    """Returns the EXIF record without what belongs to the old file, and the orientation in it."""
    orientation = 1
    try:
        record = image.getexif()
        orientation = record.get(ExifTags.Base.Orientation, 1)
        for tag in _HOW_PIXELS_LIE:
            record.pop(tag, None)
        record.bigtiff = False
        return record.tobytes() if len(record) else None, orientation
    except Exception:  # as of any decoder; the pixels are whole all the same
        warnings.warn("the EXIF record is damaged and was left out", stacklevel=2)
        return None, orientation


def _plain_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Brings an image to L, LA, RGB, RGBA or I;16, and drops a profile that no longer fits."""
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info:
        return image, profile
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("holds 32-bit values; only 8 and 16 bits are restored.")
        values = values.astype(np.uint16)
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]  # a TIFF has them
            values = ~values  # white is zero; of 8 bits Pillow turns it over
        return Image.fromarray(values), profile
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


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257.0).astype(np.uint8)


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(dots) for dots in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < min(across, down) <= max(across, down) <= _MOST_DPI else None


@contextlib.contextmanager
def _pillow(path: str) -> Iterator[None]:
    """Lifts Pillow's limit on the number of pixels, and names the file in what it warns of."""
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice this
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                # These are the person's own files.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
    # A read that failed has said why. Pillow says the same of each place that is wrong.
    for text in dict.fromkeys(str(warning.message).split(".")[0].strip() for warning in told):
        tqdm.tqdm.write(f"warning: {path}: {text}.")
