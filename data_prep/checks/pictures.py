"""One picture file: can it be read, and is it the plain 8-bit RGB that a data set expects."""

import dataclasses
import io
import warnings

import numpy as np
from PIL import Image, ImageCms

from data_prep import images
from data_prep.checks.findings import Finding

# Endings that name a format, by Pillow's name of the format.
_ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm",),
}
_MODES = {"L": "gray", "1": "gray", "CMYK": "cmyk", "P": "palette", "F": "float-pixels"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is known of one file.

    Attributes:
        findings: What is wrong with it.
        kind: Format, kind of pixels and bits, such as `PNG RGB 8`; empty if it cannot be read.
        size: Width and height, upright; zeros if it cannot be read.
        pixels: uint8 [height, width, 3] where they were asked for and can be read.
    """

    findings: tuple[Finding, ...]
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray | None = None


def examine(path: str, deep: bool = True) -> Picture:
    """Looks at one file.

    Args:
        path: The file.
        deep: Whether to decode its pixels; otherwise only its head is read, and a file that was
            cut off or damaged behind the head passes.
    """
    findings: list[Finding] = []
    try:
        # A picture of many pixels that is still opened gets a warning, which would be printed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with images.open_image(path) as picture:
                bits = _bits(path, picture)
                kind = f"{picture.format} {picture.mode} {bits}"
                findings += _head(path, picture, bits)
                width, height = picture.size
                if images.orientation(picture) in images.TURNED:
                    width, height = height, width
                pixels = images.to_rgb(picture, path) if deep else None
    except images.Unreadable as error:
        return Picture((Finding(error.trouble, path, str(error)),))
    return Picture(tuple(findings), kind, (width, height), pixels)


def _bits(path: str, picture: Image.Image) -> int:
    """Returns the bits of a channel as stored; Pillow itself hides them from who asks for RGB."""
    if picture.mode in ("F", "I"):
        return 32
    if picture.mode.startswith("I;16"):
        return 16
    if picture.format == "PNG":
        # The first block of a PNG: 8 bytes of signature, 8 of the block's head, then width,
        # height and the depth.
        with images.open_file(path) as file:
            head = file.read(25)
        return head[24]
    if picture.format == "TIFF":
        return int(max(picture.tag_v2.get(258, (8,))))  # type: ignore[attr-defined]  # TIFF only
    return 8


def _head(path: str, picture: Image.Image, bits: int) -> list[Finding]:
    found = []
    endings = _ENDINGS.get(str(picture.format))
    if endings is None or not path.lower().endswith(endings):
        found.append(Finding("wrong-ending", path, f"It is a {picture.format} file."))
    mode = picture.mode
    if bits > 8 and mode != "F":
        found.append(Finding("deep-pixels", path, f"It has {bits} bits a channel."))
    if mode in _MODES and mode != "F":
        found.append(Finding(_MODES[mode], path))
    elif mode in ("LA", "La") or mode.startswith("I"):
        found.append(Finding("gray", path))
    elif mode not in ("RGB", "RGBA", "RGBa", "RGBX", "PA", "F"):
        found.append(Finding("odd-mode", path, f"Its pixels are {mode}."))
    if picture.has_transparency_data:
        found.append(Finding("alpha", path))
    turn = images.orientation(picture)
    if turn != 1:
        found.append(Finding("exif-rotated", path, f"Its EXIF orientation is {turn}."))
    frames = getattr(picture, "n_frames", 1)
    # A phone's JPEG often brings a second, smaller one along.
    if frames > 1 and picture.format != "MPO":
        found.append(Finding("several-frames", path, f"It holds {frames} frames."))
    profile = _profile(picture)
    if profile and "sRGB" not in profile:
        found.append(Finding("color-profile", path, f"Its profile is {profile}."))
    return found


def _profile(picture: Image.Image) -> str:
    """Returns the name of a picture's color profile; empty where it has none."""
    data = picture.info.get("icc_profile")
    if not data:
        return ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return ImageCms.getProfileDescription(profile).strip() or "unnamed"
    except (OSError, ImageCms.PyCMSError):
        return "unreadable"
