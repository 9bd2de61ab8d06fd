"""HEIC photos: read and written with what photos keep, and named if the package is missing."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from tfdeblur import deblur
from tfdeblur.errors import UserError
from tfdeblur.inference import photo_files
from tfdeblur.inference.photo_files import Photo
from tfdeblur.io import pictures

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def heif():
    package = pytest.importorskip("pillow_heif", reason="pillow-heif (extra `heif`) is missing")
    assert pictures.has_heif()
    return package


def smooth(height=48, width=64, channels=3):
    """Colors that a lossy format keeps."""
    y, x = np.mgrid[:height, :width]
    layers = [255 * y / height, 255 * x / width, 127 + 0 * x, 255 * (x > width // 2)]
    return np.stack(layers[:channels], axis=-1).astype(np.uint8)


def test_heic_written_and_read_keeps_pixels_profile_exif_and_alpha(heif, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    path = str(tmp_path / "a.heic")
    given = smooth(channels=4)
    photo = Photo(given[..., :3], given[..., 3], SRGB, exif.tobytes(), (300.0, 300.0))
    photo_files.write_photo(path, photo)
    again = photo_files.read_photo(path)
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2
    assert np.abs(again.alpha.astype(int) - photo.alpha).mean() < 2
    assert again.profile == SRGB
    record = Image.Exif()
    record.load(again.exif)
    assert record[ExifTags.Base.Make] == "camera"


def test_gray_heic_stays_gray(heif, tmp_path):
    path = str(tmp_path / "a.heif")
    gray = smooth(channels=1)[..., 0]
    photo_files.write_photo(path, Photo(gray))
    again = photo_files.read_photo(path).pixels
    assert again.shape == gray.shape
    assert np.abs(again.astype(int) - gray).mean() < 2


def test_gray_heic_with_alpha_is_written(heif, tmp_path):
    path = str(tmp_path / "a.heic")
    given = smooth(channels=4)
    photo_files.write_photo(path, Photo(given[..., 0], given[..., 3]))
    again = photo_files.read_photo(path)
    assert np.abs(again.pixels.reshape(48, 64, -1)[..., 0].astype(int) - given[..., 0]).mean() < 2
    assert np.abs(again.alpha.astype(int) - given[..., 3]).mean() < 2


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_with_orientation_comes_upright_once(heif, tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(smooth())
    path, plain = tmp_path / "a.heic", tmp_path / "a.png"
    image.save(path, "HEIF", quality=95, exif=exif.tobytes())
    image.save(plain, exif=exif.tobytes())
    read, expected = photo_files.read_photo(str(path)), photo_files.read_photo(str(plain))
    assert read.pixels.shape == expected.pixels.shape
    assert np.abs(read.pixels.astype(int) - expected.pixels).mean() < 2
    out = str(tmp_path / "out.heic")
    photo_files.write_photo(out, read)
    assert photo_files.read_photo(out).pixels.shape == read.pixels.shape


def test_heic_with_several_pictures_yields_the_primary_one(heif, tmp_path):
    path = str(tmp_path / "a.heic")
    file = heif.HeifFile()
    for array in (np.zeros((16, 16, 3), np.uint8), smooth()):
        file.add_from_pillow(Image.fromarray(array))
    file.save(path, quality=95, primary_index=1)
    assert photo_files.read_photo(path).pixels.shape == (48, 64, 3)


def test_damaged_heic_raises_user_error_with_its_path(heif, tmp_path):
    path = tmp_path / "a.heic"
    Image.fromarray(smooth()).save(path, "HEIF")
    content = path.read_bytes()
    for length in (40, 200, len(content) - 50):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=str(path)):
            photo_files.read_photo(str(path))


def test_deblur_keeps_the_format_of_a_heic(heif, write_run, tmp_path):
    write_run(str(tmp_path / "run"))
    path = tmp_path / "IMG_1.HEIC"
    Image.fromarray(smooth()).save(path, "HEIF", quality=95)
    out = tmp_path / "out"
    assert deblur.main([str(path), "--model", str(tmp_path / "run"), "-o", str(out)]) == 0
    with Image.open(out / "IMG_1.HEIC") as image:
        assert image.format == "HEIF" and image.size == (64, 48)


class TestWithoutThePackage:
    @pytest.fixture(autouse=True)
    def _missing(self, monkeypatch):
        monkeypatch.setattr(photo_files, "has_heif", lambda: False)
        monkeypatch.setattr(pictures, "has_heif", lambda: False)
        Image.init()
        for registry in (Image.OPEN, Image.SAVE):
            monkeypatch.delitem(registry, "HEIF", raising=False)

    def test_heic_names_the_extra(self, tmp_path):
        path = tmp_path / "a.heic"
        path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
        with pytest.raises(UserError, match=r"a\.heic.*tfdeblur\[heif\]"):
            photo_files.read_photo(str(path))
        with pytest.raises(UserError, match=r"b\.heic.*tfdeblur\[heif\]"):
            photo_files.write_photo(str(tmp_path / "b.heic"), Photo(smooth()))

    def test_output_of_a_heic_is_a_png(self):
        assert photo_files.written_name("IMG_1.HEIC") == "IMG_1.png"
