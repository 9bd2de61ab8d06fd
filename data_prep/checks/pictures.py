"""Checks of a single image file: whether it is readable, and whether it is plain 8-bit RGB."""

import dataclasses
import io
import warnings

import numpy as np
from PIL import Image, ImageCms

from data_prep import images
from data_prep.checks.findings import Finding
from data_prep.faults import Fault

# Extensions by Pillow's name of the format.
_EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm",),
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An examined image file.

    Attributes:
        findings: Its findings.
        kind: Format, mode and bits per channel, such as `PNG RGB 8`; empty if it is unreadable.
        pixels: uint8 [height, width, 3] if they were decoded.
    """

    findings: tuple[Finding, ...]
    kind: str = ""
    pixels: np.ndarray | None = None


def examine(path: str, deep: bool = True) -> Picture:
    """Examines one image file.

    Args:
        path: The file.
        deep: Whether to decode its pixels; otherwise only its header is checked.
    """
    findings: list[Finding] = []
    try:
        # Pillow would print a warning about large images that it still opens.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with images.open_image(path) as picture:
                bits = _bits(path, picture)
                kind = f"{picture.format} {picture.mode} {bits}"
                findings += _check_header(path, picture, bits)
                pixels = images.to_rgb(picture, path) if deep else None
    except Fault as fault:
        return Picture((Finding(fault.code, fault.file, str(fault)),))
    return Picture(tuple(findings), kind, pixels)


def _bits(path: str, picture: Image.Image) -> int:
    """Returns the stored bits per channel, which Pillow does not expose for RGB images."""
    if picture.mode in ("F", "I"):
        return 32
    if picture.mode.startswith("I;16"):
        return 16
    if picture.format == "PNG":
        # 8 bytes of signature, 8 of the first chunk's header, then width, height and bit depth.
        with images.open_file(path) as file:
            head = file.read(25)
        return head[24]
    if picture.format == "TIFF":
        return int(max(picture.tag_v2.get(258, (8,))))  # type: ignore[attr-defined]  # TIFF only
    return 8


def _check_header(path: str, picture: Image.Image, bits: int) -> list[Finding]:
    findings = []
    extensions = _EXTENSIONS.get(str(picture.format))
    if extensions is None or not path.lower().endswith(extensions):
        findings.append(Finding("wrong-extension", path, f"It is a {picture.format} file."))
    findings += [Finding("converted", path, detail) for detail in _conversions(picture, bits)]
    profile = _profile(picture)
    if profile and "sRGB" not in profile:
        findings.append(Finding("color-profile", path, f"Its color profile is {profile}."))
    return findings


def _conversions(picture: Image.Image, bits: int) -> list[str]:
    """Returns how the image differs from a single upright 8-bit RGB image."""
    mode = picture.mode
    found = []
    if bits > 8 and mode != "F":
        found.append(f"It has {bits} bits per channel, which are scaled to 8.")
    if mode in ("1", "L", "LA", "La") or mode.startswith("I"):
        found.append("It is gray and gets three equal channels.")
    elif mode == "CMYK":
        found.append("It is CMYK and is converted without its color profile.")
    elif mode in ("P", "PA"):
        found.append("It has a palette of at most 256 colors.")
    elif mode not in ("RGB", "RGBA", "RGBa", "RGBX", "F"):
        found.append(f"Its mode is {mode}.")
    if picture.has_transparency_data:
        found.append("It has transparency, which is composited over white.")
    orientation = images.orientation(picture)
    if orientation != 1:
        found.append(
            f"Its EXIF orientation is {orientation}, so it is rotated; programs that ignore EXIF "
            "data do not rotate it."
        )
    frames = getattr(picture, "n_frames", 1)
    # JPEG files from phones often contain a second, smaller image.
    if frames > 1 and picture.format != "MPO":
        found.append(f"It has {frames} frames, of which the first is used.")
    return found


def _profile(picture: Image.Image) -> str:
    """Returns the name of the color profile; empty if there is none."""
    data = picture.info.get("icc_profile")
    if not data:
        return ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return ImageCms.getProfileDescription(profile).strip() or "unnamed"
    except Exception:  # of almost any type if the profile is damaged
        return "unreadable"
