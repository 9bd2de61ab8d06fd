"""Photo files: pixels of every format, and metadata that is kept."""

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageCms, ImageOps

from tests.helpers.pngs import png_with_transparent_color
from tfdeblur.errors import UserError
from tfdeblur.inference import photo_codecs, photo_files
from tfdeblur.inference.photo_files import Photo
from tfdeblur.io import files

RANDOM = np.random.default_rng(7)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(*shape, dtype=np.uint8):
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


def test_read_photo_of_plain_formats_returns_the_pixels(tmp_path):
    color, gray = pixels(5, 7, 3), pixels(5, 7)
    read = photo_files.read_photo(save(tmp_path / "a.png", Image.fromarray(color)))
    np.testing.assert_array_equal(read.pixels, color)
    assert read.alpha is None and read.profile is None and read.exif is None
    read = photo_files.read_photo(save(tmp_path / "b.tif", Image.fromarray(gray)))
    np.testing.assert_array_equal(read.pixels, gray)
    narrow = photo_files.read_photo(save(tmp_path / "c.png", Image.fromarray(gray[:, :2])))
    np.testing.assert_array_equal(narrow.pixels, gray[:, :2])
    assert narrow.alpha is None  # two columns are no color and alpha


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_alpha_read_and_written_is_kept(tmp_path, kind, channels):
    array = pixels(6, 4, channels)
    path = str(tmp_path / f"a.{kind}")
    Image.fromarray(array).save(
        path, **({"lossless": True, "exact": True} if kind == "webp" else {})
    )
    read = photo_files.read_photo(path)
    np.testing.assert_array_equal(read.alpha, array[..., -1])
    out = str(tmp_path / f"out.{kind}")
    photo_files.write_photo(out, read)
    again = photo_files.read_photo(out)
    np.testing.assert_array_equal(again.alpha, array[..., -1])
    if kind != "webp":  # is lossy
        np.testing.assert_array_equal(again.pixels, read.pixels)


def test_read_photo_of_palettes_resolves_color_and_transparency(tmp_path):
    color = pixels(4, 4, 3)
    plain = Image.fromarray(color).quantize(16)
    path = save(tmp_path / "p.png", plain)
    np.testing.assert_array_equal(
        photo_files.read_photo(path).pixels, np.asarray(plain.convert("RGB"))
    )
    path = save(tmp_path / "t.png", plain, transparency=int(np.asarray(plain)[0, 0]))
    assert photo_files.read_photo(path).alpha[0, 0] == 0
    bits = Image.fromarray(pixels(4, 4) > 100)
    read = photo_files.read_photo(save(tmp_path / "1.png", bits))
    np.testing.assert_array_equal(read.pixels, np.asarray(bits) * np.uint8(255))


@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (8, 3)])
def test_transparent_color_of_a_png_becomes_alpha(depth, channels):
    levels = np.arange(12, dtype=np.uint16).reshape(3, 4, 1) % 2**depth
    for first in range(min(2**depth, 3)):
        values = np.repeat((levels + first) % 2**depth, channels, axis=-1)
        photo = photo_files.decode_photo(png_with_transparent_color(values, depth), "a.png")
        expected = values.squeeze(-1) if channels == 1 else values
        np.testing.assert_array_equal(photo.pixels, expected * (255 // (2**depth - 1)))
        np.testing.assert_array_equal(photo.alpha, np.where(values[..., 0] == first, 0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_photo_with_orientation_returns_upright_pixels(tmp_path, orientation):
    array = np.repeat(np.repeat(pixels(2, 3, 3), 8, 0), 8, 1)
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "camera"
    expected = np.asarray(
        ImageOps.exif_transpose(Image.open(save(tmp_path / "a.png", image, exif=exif)))
    )
    for kind in ("png", "tif"):  # of a TIFF Pillow applies it itself
        read = photo_files.read_photo(save(tmp_path / f"a.{kind}", image, exif=exif))
        np.testing.assert_array_equal(read.pixels, expected)
    # The written file has no orientation, which would apply twice, and keeps the camera.
    for kind in ("png", "jpg", "webp", "tif"):
        out = str(tmp_path / f"out.{kind}")
        photo_files.write_photo(out, read)
        with Image.open(out) as written:
            assert written.size == (expected.shape[1], expected.shape[0])
            assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1
            assert written.getexif()[ExifTags.Base.Make] == "camera"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_profile_and_resolution_written_and_read_are_kept(tmp_path, kind):
    photo = Photo(pixels(9, 9, 3), profile=SRGB, dpi=(300.0, 300.0))
    path = str(tmp_path / f"a.{kind}")
    photo_files.write_photo(path, photo)
    again = photo_files.read_photo(path)
    assert again.profile == SRGB
    if kind != "webp":  # has no field for it
        assert again.dpi == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_written_and_read_are_kept(tmp_path, kind):
    path = str(tmp_path / f"a.{kind}")
    for shape in ((5, 6), (5, 6, 3)):
        photo = Photo(pixels(*shape, dtype=np.uint16))
        photo_files.write_photo(path, photo)
        again = photo_files.read_photo(path)
        assert again.pixels.dtype == np.uint16
        np.testing.assert_array_equal(again.pixels, photo.pixels)
    alpha = pixels(5, 6, dtype=np.uint16)
    photo_files.write_photo(path, Photo(photo.pixels, alpha, SRGB, None, (200.0, 200.0)))
    again = photo_files.read_photo(path)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    np.testing.assert_array_equal(again.alpha, alpha)
    assert again.profile == SRGB
    assert again.dpi == pytest.approx((200, 200), abs=0.1)


def test_write_photo_of_sixteen_bits_as_bmp_reduces_to_eight(tmp_path):
    photo = Photo(np.array([[[0, 257, 65535]]], np.uint16))
    path = str(tmp_path / "a.bmp")
    photo_files.write_photo(path, photo)
    np.testing.assert_array_equal(photo_files.read_photo(path).pixels, [[[0, 1, 255]]])


def test_write_photo_of_a_16_bit_png_keeps_exif(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    path = str(tmp_path / "a.png")
    photo_files.write_photo(path, Photo(pixels(3, 3, 3, dtype=np.uint16), exif=exif.tobytes()))
    with Image.open(path) as written:
        assert written.getexif()[ExifTags.Base.Make] == "camera"


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exposure_and_location_written_and_read_are_kept(tmp_path, kind, dtype):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 15.0)
    path = str(tmp_path / f"a.{kind}")
    photo_files.write_photo(path, Photo(pixels(9, 8, 3, dtype=dtype), exif=exif.tobytes()))
    again = Image.Exif()
    again.load(photo_files.read_photo(path).exif)
    assert again[ExifTags.Base.Make] == "camera"
    assert ExifTags.Base.DateTimeOriginal in again.get_ifd(ExifTags.IFD.Exif)
    assert again.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (48.0, 8.0, 15.0)


def test_exif_of_a_palette_tiff_has_no_layout_tags(tmp_path):
    # Written as RGB, it must not be tagged as a palette image.
    source = Image.fromarray(pixels(40, 30, 3)).quantize(16)
    read = photo_files.read_photo(save(tmp_path / "a.tif", source, description="old"))
    photo_files.write_photo(str(tmp_path / "out.tif"), read)
    again = photo_files.read_photo(str(tmp_path / "out.tif"))
    np.testing.assert_array_equal(again.pixels, np.asarray(source.convert("RGB")))
    record = Image.Exif()
    record.load(again.exif)
    assert record[ExifTags.Base.ImageDescription] == "old"
    assert ExifTags.Base.StripOffsets not in record


def test_layers_and_the_orientation_in_xmp_of_a_tiff_are_not_those_of_the_output(tmp_path):
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    image = Image.fromarray(pixels(8, 6, 3))
    path = save(tmp_path / "a.tif", image, tiffinfo={700: xmp, 37724: b"layers" * 20_000})
    photo = photo_files.read_photo(path)
    for name in ("b.tif", "b.jpg", "b.png"):
        photo_files.write_photo(str(tmp_path / name), photo)
        with Image.open(tmp_path / name) as written:
            assert ImageOps.exif_transpose(written).size == (photo.pixels.shape[1::-1])
            exif = written.getexif()
            assert 37724 not in exif and (700 in exif) == name.endswith("tif")
    again = photo_files.read_photo(str(tmp_path / "b.tif"))
    np.testing.assert_array_equal(again.pixels, photo.pixels)


def test_dpi_beyond_the_limit_is_none(tmp_path):
    image = Image.fromarray(pixels(8, 8, 3))
    path = save(tmp_path / "a.tif", image, x_resolution=720000, y_resolution=72, resolution_unit=2)
    assert photo_files.read_photo(path).dpi is None


def test_dpi_of_a_tiff_without_resolution_is_none(tmp_path):
    path = str(tmp_path / "a.tif")
    for dtype in (np.uint8, np.uint16):
        photo_files.write_photo(path, Photo(pixels(8, 8, 3, dtype=dtype)))
        assert photo_files.read_photo(path).dpi is None
    image = Image.fromarray(pixels(8, 8, 3))
    path = save(tmp_path / "b.tif", image, dpi=(1, 1))
    assert photo_files.read_photo(path).dpi == (1, 1)


def test_read_photo_of_a_white_is_zero_tiff_inverts_it(tmp_path):
    gray = pixels(6, 5, dtype=np.uint16)
    path = save(tmp_path / "a.tif", Image.fromarray(~gray), tiffinfo={262: 0})
    np.testing.assert_array_equal(photo_files.read_photo(path).pixels, gray)


def test_read_photo_of_cmyk_returns_rgb(tmp_path):
    cmyk = Image.fromarray(pixels(8, 8, 4), "CMYK")
    for options in ({}, {"icc_profile": SRGB}):  # an RGB profile does not apply and is ignored
        read = photo_files.read_photo(save(tmp_path / "a.tif", cmyk, **options))
        np.testing.assert_array_equal(read.pixels, np.asarray(cmyk.convert("RGB")))
        assert read.profile is None


def test_write_photo_as_jpeg_is_near_the_pixels(tmp_path):
    y, x = np.mgrid[:40, :50]
    smooth = np.uint8(np.stack([y * 6, x * 5, y + x], axis=-1))
    path = str(tmp_path / "a.jpeg")
    photo_files.write_photo(path, Photo(smooth, alpha=pixels(40, 50)))
    read = photo_files.read_photo(path)
    assert np.abs(read.pixels.astype(int) - smooth).mean() < 1.5
    assert read.alpha is None


def test_read_photo_of_a_multi_picture_file_returns_the_first(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16, 3), v, np.uint8)) for v in (10, 200))
    path = str(tmp_path / "a.jpg")
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert abs(photo_files.read_photo(path).pixels.mean() - 10) < 2


def png_header_of(width, height):
    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def test_read_and_write_of_bad_files_name_them(tmp_path):
    frames = [Image.fromarray(pixels(8, 8)) for _ in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(pixels(8, 8).astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "deep.tif")
    whole = io.BytesIO()
    Image.fromarray(pixels(64, 64, 3)).save(whole, "PNG")
    deep = tf.io.encode_png(pixels(64, 64, 3, dtype=np.uint16)).numpy()
    bad = {
        "moving.gif": "3 images",
        "float.tif": "floating-point",
        "deep.tif": "32 bits",
        "text.png": "not an image",
        "cut.png": "damaged",
        "cut16.png": "damaged",
        "cut.jpg": "damaged",
        "cut.tif": "not an image|damaged",
        "empty.png": "is empty",
        "phone.heic": r"tfdeblur\[heif\]|damaged|not an image",
        "link.png": "a link to",
        "pipe.png": "a pipe",
        "folder.png": "is a folder",
        "planes.tif": "planar",
        "bomb.png": "more than",
        "missing.png": "does not exist",
    }
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:-3000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (tmp_path / "link.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    deep_tiff = photo_codecs.encode_tiff(pixels(64, 64, 3, dtype=np.uint16))
    (tmp_path / "cut.tif").write_bytes(deep_tiff[: len(deep_tiff) // 2])
    interleaved, apart = (struct.pack("<HHLL", 284, 3, 1, kind) for kind in (1, 2))
    (tmp_path / "planes.tif").write_bytes(deep_tiff.replace(interleaved, apart))
    (tmp_path / "cut16.png").write_bytes(deep[: len(deep) // 2])
    jpeg = io.BytesIO()
    Image.fromarray(pixels(64, 64, 3)).save(jpeg, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(jpeg.getvalue()[:-1500])
    (tmp_path / "bomb.png").write_bytes(png_header_of(60000, 60000))
    before = Image.MAX_IMAGE_PIXELS
    for name, message in bad.items():
        with pytest.raises(UserError, match=message) as caught:
            photo_files.read_photo(str(tmp_path / name))
        assert name in str(caught.value)
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(UserError, match=r"a\.xyz"):
        photo_files.write_photo(str(tmp_path / "a.xyz"), Photo(pixels(2, 2)))
    with pytest.raises(UserError, match=r"a\.webp.*17000x1"):
        photo_files.write_photo(str(tmp_path / "a.webp"), Photo(pixels(1, 17000)))
    assert not (tmp_path / "a.webp").exists()


def test_read_photo_with_any_decoder_error_names_the_file(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(pixels(4, 4)))
    for error, message in ((TypeError("odd"), "odd"), (MemoryError(), "memory")):
        monkeypatch.setattr(
            photo_files, "_plain_mode", lambda *_, error=error: (_ for _ in ()).throw(error)
        )
        with pytest.raises(UserError, match=f"a.png .*{message}"):
            photo_files.read_photo(path)


def test_read_photo_with_a_pillow_warning_names_the_file(tmp_path, capsys):
    image = Image.fromarray(pixels(8, 8, 3))
    path = save(tmp_path / "a.jpg", image, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 30)
    photo_files.read_photo(path)
    assert capsys.readouterr().out == f"warning: {path}: Corrupt EXIF data.\n"


def test_photos_are_decoded_at_the_same_time_and_warn_of_their_own_file(
    tmp_path, monkeypatch, capsys, recwarn
):
    image, exif = Image.fromarray(pixels(8, 8, 3)), b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 30
    slow, fast = (save(tmp_path / name, image, exif=exif) for name in ("slow.jpg", "fast.jpg"))
    plain, limit = photo_files._plain_mode, Image.MAX_IMAGE_PIXELS
    begun, done = threading.Event(), threading.Event()

    def decode(opened, profile):
        if not begun.is_set():
            begun.set()
            assert done.wait(60)
        return plain(opened, profile)

    monkeypatch.setattr(photo_files, "_plain_mode", decode)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(photo_files.read_photo, slow)
        assert begun.wait(60)
        photo_files.read_photo(fast)
        assert capsys.readouterr().out == f"warning: {fast}: Corrupt EXIF data.\n"
        warnings.warn("of a thread that reads no photo", stacklevel=1)
        assert [str(w.message) for w in recwarn] == ["of a thread that reads no photo"]
        assert limit != Image.MAX_IMAGE_PIXELS
        done.set()
        first.result(60)
    assert capsys.readouterr().out == f"warning: {slow}: Corrupt EXIF data.\n"
    assert limit == Image.MAX_IMAGE_PIXELS


def test_read_photo_with_damaged_exif_keeps_the_pixels(tmp_path, monkeypatch, capsys):
    image = Image.fromarray(pixels(8, 6, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "camera"
    path = save(tmp_path / "a.png", image, exif=exif)
    monkeypatch.setattr(Image.Exif, "tobytes", lambda self: struct.unpack("B", b""))
    read = photo_files.read_photo(path)
    np.testing.assert_array_equal(read.pixels, np.rot90(np.asarray(image), -1))
    assert read.exif is None
    printed = capsys.readouterr().out
    assert path in printed and "EXIF" in printed


def test_read_photo_of_a_large_file_does_not_warn(tmp_path, recwarn):
    path = save(tmp_path / "large.png", Image.new("1", (14000, 14000)))
    assert photo_files.read_photo(path).pixels.shape == (14000, 14000)
    assert not [w for w in recwarn if w.category is Image.DecompressionBombWarning]


def test_photos_on_other_file_systems_are_written_and_read():
    photo = Photo(pixels(4, 5, 3))
    files.make_dirs("ram://album")
    photo_files.write_photo("ram://album/a.png", photo)
    np.testing.assert_array_equal(photo_files.read_photo("ram://album/a.png").pixels, photo.pixels)


def test_suffix_and_written_name_of_various_names():
    assert photo_files.suffix("a/b.c/Photo.JPG") == ".jpg"
    assert photo_files.suffix("a.b/.png") == ""
    assert photo_files.written_name("x/a.JPG") == "x/a.JPG"
    assert photo_files.written_name("x/a.gif") == "x/a.png"
    assert photo_files.written_name("holiday.2024") == "holiday.2024.png"
    assert photo_files.written_name("phone.avif") == "phone.png"
