"""16 bits per channel, which Pillow reduces to 8: every bit is kept."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pngs import png_with_transparent_color
from tfdeblur.errors import UserError
from tfdeblur.inference import photo_codecs

RANDOM = np.random.default_rng(5)


def deep(*shape):
    return RANDOM.integers(0, 65536, shape, dtype=np.uint16)


def read(data):
    with Image.open(io.BytesIO(data)) as image:
        return photo_codecs.read_deep(image, data)


def tiff(values, order="<", bits=16, **tags):
    """An uncompressed TIFF in either byte order, in two strips."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u{bits // 8}").tobytes()
    half = len(data) // height * (height // 2)
    known = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [2]}
    known |= {277: [channels], 278: [height // 2], 279: [half, len(data) - half], 284: [1]}
    known |= {int(tag[1:]): value for tag, value in tags.items()}
    start = 8 + len(data) + 200
    known[273] = [start, start + half]
    entries, more, at = b"", b"", 8 + 2 + 12 * len(known) + 4
    for tag, value in sorted(known.items()):
        content = struct.pack(f"{order}{len(value)}L", *value)
        if len(content) > 4:
            content, more = struct.pack(f"{order}L", at + len(more)), more + content
        entries += struct.pack(f"{order}HHL", tag, 4, len(value)) + content
    mark = b"II*\0" if order == "<" else b"MM\0*"
    file = mark + struct.pack(f"{order}LH", 8, len(known)) + entries + bytes(4) + more
    return file.ljust(start, b"\0") + data


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 2), (7, 5, 3), (7, 5, 4)])
def test_png_and_tiff_encoded_and_read_keep_every_bit(shape):
    values = deep(*shape)
    color = values[..., : shape[-1] - 1 + shape[-1] % 2] if len(shape) == 3 else values
    pixels, alpha = read(photo_codecs.encode_png(values))
    np.testing.assert_array_equal(pixels, color.squeeze())
    assert (alpha is None) == (shape[-1] not in (2, 4))
    if shape[-1] > 2 and len(shape) == 3:  # Pillow itself reads gray TIFFs
        pixels, alpha = read(photo_codecs.encode_tiff(values))
        np.testing.assert_array_equal(pixels, color)
        if alpha is not None:
            np.testing.assert_array_equal(alpha, values[..., -1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_either_byte_order_keeps_every_bit(order):
    values = deep(6, 5, 3)
    np.testing.assert_array_equal(read(tiff(values, order))[0], values)
    assert read(tiff(values >> 8, order, bits=8)) is None  # left to Pillow


def test_tiff_with_premultiplied_alpha_is_divided():
    color, alpha = deep(6, 4, 3), deep(6, 4) | 0x8000
    multiplied = np.rint(color * (alpha[..., np.newaxis] / 65535)).astype(np.uint16)
    pixels, found = read(tiff(np.dstack([multiplied, alpha]), t338=[1]))
    np.testing.assert_array_equal(found, alpha)
    assert np.abs(pixels.astype(int) - color).max() <= 1


def test_tiff_of_eight_bits_in_several_strips_is_lossless():
    values = RANDOM.integers(0, 256, (900, 700, 3), dtype=np.uint8)
    data = photo_codecs.encode_tiff(values)
    with Image.open(io.BytesIO(data)) as image:
        assert len(image.tag_v2[273]) > 1
        np.testing.assert_array_equal(np.asarray(image), values)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_with_a_transparent_color_has_alpha(channels):
    values = deep(5, 4, channels)
    pixels, alpha = read(png_with_transparent_color(values, 16))
    np.testing.assert_array_equal(pixels, values.squeeze())
    assert alpha[0, 0] == 0 and (alpha == 65535).sum() == alpha.size - 1


def test_ppm_of_sixteen_bits_scales_to_the_full_range():
    values = deep(3, 4, 3)
    data = b"P6\n4 3\n65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(data)[0], values)
    data = b"P6\n4 3\n1023\n" + (values // 64).astype(">u2").tobytes()
    assert np.abs(read(data)[0].astype(int) - values).max() <= 64
    with pytest.raises(UserError, match="binary"):
        read(b"P3\n1 1\n65535\n1 2 3\n")
    with pytest.raises(ValueError):
        read(data[:-2])
