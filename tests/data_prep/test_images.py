"""Images of every kind are read as upright uint8 RGB, and invalid ones raise."""

import errno
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from data_prep import images
from data_prep.faults import Fault
from tests.helpers.raw_data import picture, save
from tfdeblur.errors import DataError


def test_load_rgb_png_is_exact(tmp_path):
    path = save(tmp_path / "a.png", picture(0))
    np.testing.assert_array_equal(images.load_rgb(str(path)), picture(0))
    assert images.size_of(str(path)) == (30, 40)


def test_load_rgb_gray_has_equal_channels(tmp_path):
    gray = picture(0)[..., 0]
    path = save(tmp_path / "a.png", gray)
    np.testing.assert_array_equal(images.load_rgb(str(path)), np.stack([gray] * 3, -1))


def test_load_rgb_16_bit_gray_is_scaled(tmp_path):
    values = np.array([[0, 128, 257, 32768, 65278, 65535]], np.uint16)
    path = save(tmp_path / "a.png", values)
    np.testing.assert_array_equal(images.load_rgb(str(path))[0, :, 0], [0, 0, 1, 128, 254, 255])


def test_load_rgb_16_bit_color_is_scaled(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = np.zeros((1, 4, 3), np.uint16)
    values[0, :, 2] = [0, 257 * 10, 257 * 200, 65535]
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(
        images.load_rgb(str(tmp_path / "a.png"))[0, :, 0], [0, 10, 200, 255]
    )


def test_load_rgb_alpha_is_over_white(tmp_path):
    layer = np.zeros((1, 3, 4), np.uint8)
    layer[0, :, 3] = [0, 255, 51]
    path = save(tmp_path / "a.png", layer)
    np.testing.assert_array_equal(images.load_rgb(str(path))[0, :, 0], [255, 0, 204])


def test_load_rgb_palette_is_resolved(tmp_path):
    image = Image.fromarray(picture(0)).quantize(8)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.load_rgb(str(tmp_path / "a.png")), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_rgb_turns_as_pillow_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(0)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    loaded = images.load_rgb(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(loaded, expected)
    assert images.size_of(str(tmp_path / "a.png")) == loaded.shape[:2]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        b"MM\0*\0\0\0\x08\0\x05\x01",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02A\0\0\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0",
        b"nothing",
        b"",
    ],
    ids=["cut", "text", "99", "offset", "head", "other", "empty"],
)
def test_load_rgb_damaged_exif_is_ignored(tmp_path, exif):
    path = tmp_path / "a.png"
    Image.fromarray(picture(0)).save(path, exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(images.load_rgb(str(path)), picture(0))
    assert images.size_of(str(path)) == (30, 40)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, struct.error, MemoryError, KeyError])
@pytest.mark.parametrize("read", [images.load_rgb, images.size_of])
def test_read_any_error_of_a_decoder_is_a_fault(tmp_path, monkeypatch, error, read):
    def fail(file):
        raise error("boom")

    monkeypatch.setattr(images.pictures, "open_image", fail)
    path = str(save(tmp_path / "a.png", picture(0)))
    with pytest.raises(Fault) as caught:
        read(path)
    code = "unavailable" if error is MemoryError else "unreadable"
    assert (caught.value.code, caught.value.file) == (code, path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EIO, "Input/output error"), "unavailable"),
        (tf.errors.UnavailableError(None, None, "503"), "unavailable"),
        (tf.errors.PermissionDeniedError(None, None, "403"), "not-a-file"),
        (OSError(errno.EACCES, "Permission denied"), "not-a-file"),
        (OSError(errno.EINVAL, "Invalid argument"), "unreadable"),
    ],
)
def test_errors_of_a_disk_or_network_are_not_those_of_the_file(tmp_path, monkeypatch, error, code):
    def fail(file):
        raise error

    path = str(save(tmp_path / "a.png", picture(0)))
    monkeypatch.setattr(images.pictures, "open_image", fail)
    with pytest.raises(Fault) as caught:
        images.load_rgb(path)
    assert caught.value.code == code


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "png"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_load_rgb_exif_orientation_is_applied(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (40, 30), "black")
    image.paste("white", (0, 0, 40, 8))
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif)
    size = (40, 30) if orientation == 6 else (30, 40)
    assert images.size_of(str(path)) == size
    loaded = images.load_rgb(str(path))
    assert loaded.shape == (*size, 3)
    # The white stripe is at the top; for orientation 3 at the bottom, for 6 at the right.
    stripe = {1: loaded[2, 10], 3: loaded[-3, 10], 6: loaded[10, -3]}[orientation]
    assert stripe.min() > 240
    assert loaded[15, 15].max() < 15


def test_load_rgb_missing_file_raises(tmp_path):
    with pytest.raises(DataError, match=r"a\.png"):
        images.load_rgb(str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_load_rgb_truncated_file_raises(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", picture(0, 200, 150))
    path.write_bytes(path.read_bytes()[:-2000])
    assert images.size_of(str(path)) == (150, 200)
    with pytest.raises(DataError, match=rf"a.{suffix} .*truncated"):
        images.load_rgb(str(path))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n\x00\x00"])
@pytest.mark.parametrize("read", [images.load_rgb, images.size_of])
def test_read_invalid_file_raises(tmp_path, data, read):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png"):
        read(str(path))


def test_load_rgb_damaged_pixels_raise(tmp_path):
    path = save(tmp_path / "a.png", picture(0, 200, 150))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png"):
        images.load_rgb(str(path))


def test_load_rgb_float_pixels_raise(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    with pytest.raises(DataError, match=r"a\.tif"):
        images.load_rgb(str(path))


def test_load_rgb_memory_file_system():
    import tensorflow as tf

    with tf.io.gfile.GFile("ram://images/a.png", "wb") as file:
        Image.fromarray(picture(0)).save(file, "PNG")
    np.testing.assert_array_equal(images.load_rgb("ram://images/a.png"), picture(0))
    assert images.size_of("ram://images/a.png") == (30, 40)
    with pytest.raises(DataError, match=r"ram://images/b\.png"):
        images.size_of("ram://images/b.png")


def test_resize_reduction_does_not_alias():
    stripes = np.zeros((40, 40, 3), np.uint8)
    stripes[:, ::2] = 255
    reduced = images.resize(stripes, (16, 16))
    assert reduced.shape == (16, 16, 3)
    # With aliasing, every second column would be black or white.
    assert np.abs(reduced[:, 2:-2].astype(int) - 127).max() < 40


def test_resize_to_same_size_is_exact():
    image = picture(0)
    np.testing.assert_array_equal(images.resize(image, (30, 40)), image)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("a.png", True),
        ("x/B.JPG", True),
        ("x/.hidden.png", False),
        ("a.txt", False),
        ("png", False),
    ],
)
def test_is_picture_by_name(name, answer):
    assert images.is_picture(name) is answer
