"""Opening of picture files: which formats are decoded, and which never are."""

import io
import subprocess

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tfdeblur.io.pictures import open_image

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000"])
def test_lossless_formats_are_opened(kind):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    with open_image(file) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_postscript_is_not_opened_and_runs_no_program(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"  # what Pillow does by itself
    for name in ("Popen", "run", "check_call"):
        monkeypatch.setattr(subprocess, name, lambda *args, **kw: pytest.fail("runs a program"))
    with pytest.raises(UnidentifiedImageError):
        open_image(str(path))


def test_other_formats_than_requested_are_not_opened():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "BMP")
    with pytest.raises(UnidentifiedImageError):
        open_image(file, formats=["PNG"])
