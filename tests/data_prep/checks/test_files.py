"""Faults of single files: the doctor names each, the builder refuses or handles it."""

import os

import numpy as np
import pytest
from PIL import Image

from data_prep import images
from tests.data_prep.checks import planting as p

HANDLED, REFUSED = 0, 2

# What is planted, in which format: its code, what a build does, the bytes of the blurred half.
FAULTS = [
    *[("truncated", e, REFUSED, lambda e=e: p.cut(e)) for e in ("png", "jpg", "tif", "bmp", "ppm")],
    ("empty-file", "png", REFUSED, lambda: b""),
    ("empty-file", "jpg", REFUSED, lambda: b""),
    ("empty-file", "webp", REFUSED, lambda: b""),
    ("truncated", "png", REFUSED, lambda: b"\x89PNG\r\n\x1a\n\0\0"),
    ("not-a-picture", "png", REFUSED, lambda: b"this is a text, renamed\n" * 9),
    ("not-a-picture", "jpg", REFUSED, lambda: b"<html><title>404 Not Found</title></html>"),
    ("not-a-picture", "tif", REFUSED, lambda: b"PK\x03\x04" + bytes(200)),
    ("not-a-picture", "webp", REFUSED, lambda: bytes(100)),
    ("damaged", "png", REFUSED, p.damaged),
    *[("too-large", e, REFUSED, lambda e=e: p.bomb(e)) for e in ("png", "bmp", "ppm")],
    ("float-pixels", "tif", REFUSED, lambda: p.encoded(p.half_gray() / np.float32(9), "TIFF")),
    ("odd-colors", "tif", REFUSED, lambda: p.encoded(Image.new("LAB", (64, 48)), "TIFF")),
    *[
        ("cmyk", e, HANDLED, lambda k=k: p.encoded(Image.fromarray(p.half()).convert("CMYK"), k))
        for e, k in (("jpg", "JPEG"), ("tif", "TIFF"))
    ],
    ("deep-pixels", "png", HANDLED, p.deep_color),
    *[("deep-pixels", e, HANDLED, lambda e=e: p.deep_gray(e)) for e in ("png", "tif")],
    *[
        ("gray", e, HANDLED, lambda k=k: p.encoded(p.half_gray(), k))
        for e, k in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("tif", "TIFF"))
    ],
    *[
        ("alpha", e, HANDLED, lambda e=e, m=m: p.transparent(m, e))
        for m, e in (("RGB", "png"), ("L", "png"), ("RGB", "webp"), ("RGB", "tif"))
    ],
    ("alpha", "png", HANDLED, p.one_transparent_color),
    ("palette", "png", HANDLED, lambda: p.encoded(Image.fromarray(p.half()).quantize(99), "PNG")),
    *[("exif-rotated", e, HANDLED, lambda e=e: p.turned(e)) for e in ("jpg", "png", "webp")],
    ("exif-rotated", "jpg", HANDLED, lambda: p.turned("jpg", 3)),
    *[("several-frames", e, HANDLED, lambda e=e: p.frames(e)) for e in ("png", "tif", "webp")],
    ("wrong-ending", "png", HANDLED, lambda: p.encoded(p.half(), "JPEG", quality=95)),
    ("wrong-ending", "jpg", HANDLED, lambda: p.encoded(p.half(), "PNG")),
    ("color-profile", "png", HANDLED, p.profiled),
]


def ids(faults):
    return [f"{number}-{code}-{ending}" for number, (code, ending, *_) in enumerate(faults)]


@pytest.mark.parametrize(("code", "ending", "built", "make"), FAULTS, ids=ids(FAULTS))
def test_each_fault_is_named_and_refused_or_handled(
    tmp_path, examine, try_to_build, code, ending, built, make
):
    root = p.make_pairs(tmp_path / "set", frames=1)
    os.remove(f"{root}/blur/day/0.png")
    bad = f"blur/day/0.{ending}"
    with open(f"{root}/{bad}", "wb") as file:
        file.write(make())
    report = examine(root)
    named = [finding for finding in report.findings if finding.code == code]
    assert [finding.file for finding in named] == [bad], report.to_text()
    assert report.exit_code == {0: 0, 1: 3, 2: 4}[report.severity]
    assert named[0].severity == 2 or built == HANDLED
    # Nothing else is wrong with the set, so nothing else is graver.
    assert report.severity == named[0].severity or code in ("alpha", "color-profile")

    exit_code, complaint = try_to_build(root)
    assert exit_code == built, complaint
    if built == REFUSED:
        (said,) = [line for line in complaint.splitlines() if line.startswith("error: ")]
        assert bad in said and said == complaint.splitlines()[-1]
    else:
        assert images.load_rgb(f"{root}/{bad}").shape == (p.HEIGHT, p.WIDTH, 3)


def test_a_clean_set_of_every_format_has_no_findings(tmp_path, examine):
    for ending in ("png", "bmp", "ppm", "tif"):
        report = examine(p.make_pairs(tmp_path / ending, ending=ending))
        assert report.findings == [] and report.exit_code == 0, report.to_text()
        assert report.examination.examined == 6
