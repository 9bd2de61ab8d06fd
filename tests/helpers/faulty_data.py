"""Small raw data sets without faults, and faulty image files."""

import functools
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 64, 48


@functools.cache
def scene(seed, width=WIDTH + 16, height=HEIGHT + 16):
    """Returns a sharp image with texture at every scale, larger than a pair by a margin."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24):
        coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST), float)
    return np.clip(20 + total / 4.6, 0, 255).astype(np.uint8)


@functools.cache
def pair(seed, gamma=1.0, shift=0):
    """Returns a blurred and a sharp half; the blur averages seven horizontal shifts."""
    wide = scene(seed).astype(float) / 255
    inside = slice(8, 8 + HEIGHT), slice(8, 8 + WIDTH)
    places = [np.roll(wide, step + shift, 1)[inside] ** gamma for step in range(-3, 4)]
    blurred = np.mean(places, 0) ** (1 / gamma)
    return tuple(np.round(255 * half).astype(np.uint8) for half in (blurred, wide[inside]))


def write(path, image, **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(path, **options)
    return str(path)


def make_pairs(root, scenes=("day", "dusk", "night"), frames=2, ending="png", **how):
    """Writes the folders `blur` and `sharp` with scene folders; returns the root."""
    for number, name in enumerate(scenes):
        for frame in range(frames):
            for folder, half in zip(
                ("blur", "sharp"), pair(10 * number + frame, **how), strict=True
            ):
                write(f"{root}/{folder}/{name}/{frame}.{ending}", half)
    return str(root)


def make_gopro(root, splits=(("train", "ABC"), ("test", "D")), **how):
    """Writes GoPro's native layout with two pairs per scene; returns the root."""
    for split, names in splits:
        for name in names:
            for frame in range(2):
                halves = pair(ord(name) * 10 + frame, **how)
                for folder, half in zip(("blur", "sharp"), halves, strict=True):
                    write(f"{root}/{split}/GOPR0{name}/{folder}/{frame:06d}.png", half)
    return str(root)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows):
    """Returns a PNG file of any bit depth from its filtered rows."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


FORMATS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP", "ppm": "PPM"}


def half(kind="blurred"):
    return pair(0)[kind == "sharp"]


def half_gray():
    return np.asarray(Image.fromarray(half()).convert("L"))


def cut(ending):
    """Returns the first half of an image file."""
    # Noise, since well-compressed files are too short.
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = encoded(noise, FORMATS[ending])
    return data[: len(data) // 2]


def damaged():
    """Returns a PNG file with one changed byte in its pixels."""
    data = bytearray(encoded(half(), "PNG"))
    data[len(data) // 2] ^= 255
    return bytes(data)


def damaged_avif():
    """Returns an AVIF file whose pixels are zeros."""
    data = encoded(half(), "AVIF")
    start = data.index(b"mdat") + 4
    return data[:start] + bytes(len(data) - start)


def bomb(ending):
    """Returns a small file with the header of a huge image."""
    if ending == "png":
        return png(60_000, 60_000, 8, 2, b"\0" * 1000)
    if ending == "bmp":
        head = struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + b"\0" * 100
    if ending == "ppm":
        return b"P6 40000 40000 255\n" + b"\0" * 100
    raise ValueError(ending)


def deep_color():
    """Returns a color PNG file with 16 bits per channel."""
    values = half().astype(">u2") * 257
    return png(WIDTH, HEIGHT, 16, 2, b"".join(b"\0" + row.tobytes() for row in values))


def deep_gray(ending):
    values = half_gray().astype(np.uint16) * 257
    return encoded(values, FORMATS[ending])


def transparent(mode, ending):
    image = Image.fromarray(half()).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)).point(lambda v: 255 - v // 9))
    return encoded(image, FORMATS[ending], **({"lossless": True} if ending == "webp" else {}))


def one_transparent_color():
    return encoded(half(), "PNG", transparency=(1, 2, 3))


def turned(ending, orientation=6):
    """Returns a rotated image with the EXIF tag that rotates it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    return encoded(Image.fromarray(half()).transpose(back), FORMATS[ending], exif=exif)


def frames(ending):
    image = Image.fromarray(half())
    other = [Image.fromarray(half("sharp"))]
    return encoded(image, FORMATS[ending], save_all=True, append_images=other)


def profiled():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return encoded(half(), "PNG", icc_profile=profile.tobytes())
