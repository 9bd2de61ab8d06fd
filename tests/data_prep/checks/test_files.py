"""Faults of single files: the doctor finds each, and a build refuses or converts the file."""

import functools
import os

import numpy as np
import pytest
from PIL import Image, features

from data_prep import images
from tests.helpers import faulty_data as faulty

CONVERTED, REFUSED = 0, 2


def unreadable(ending, detail, make):
    return "unreadable", ending, REFUSED, detail, make


def converted(ending, detail, make):
    return "converted", ending, CONVERTED, detail, make


def cmyk(kind):
    return faulty.encoded(Image.fromarray(faulty.half()).convert("CMYK"), kind)


# Code, file type, exit code of a build, part of the detail, and the bytes of the blurred half.
FAULTS = [
    *[
        unreadable(ending, "truncated", functools.partial(faulty.cut, ending))
        for ending in ("png", "jpg", "tif", "bmp", "ppm")
    ],
    unreadable("png", "empty", lambda: b""),
    unreadable("jpg", "empty", lambda: b""),
    unreadable("webp", "empty", lambda: b""),
    unreadable("png", "truncated", lambda: b"\x89PNG\r\n\x1a\n\0\0"),
    unreadable("png", "not an image", lambda: b"this is a text, renamed\n" * 9),
    unreadable("jpg", "not an image", lambda: b"<html><title>404 Not Found</title></html>"),
    unreadable("tif", "not an image", lambda: b"PK\x03\x04" + bytes(200)),
    unreadable("webp", "not an image", lambda: bytes(100)),
    unreadable("png", "damaged", faulty.damaged),
    *([unreadable("jpg", "damaged", faulty.damaged_avif)] if features.check("avif") else []),
    *[
        ("too-large", ending, REFUSED, "pixels", functools.partial(faulty.bomb, ending))
        for ending in ("png", "bmp", "ppm")
    ],
    (
        "unsupported-pixels",
        "tif",
        REFUSED,
        "floating-point",
        lambda: faulty.encoded(faulty.half_gray() / np.float32(9), "TIFF"),
    ),
    (
        "unsupported-pixels",
        "tif",
        REFUSED,
        "LAB",
        lambda: faulty.encoded(Image.new("LAB", (64, 48)), "TIFF"),
    ),
    converted("jpg", "CMYK", lambda: cmyk("JPEG")),
    converted("tif", "CMYK", lambda: cmyk("TIFF")),
    converted("png", "16 bits", faulty.deep_color),
    converted("png", "16 bits", lambda: faulty.deep_gray("png")),
    converted("tif", "16 bits", lambda: faulty.deep_gray("tif")),
    *[
        converted(
            ending,
            "gray",
            functools.partial(faulty.encoded, faulty.half_gray(), faulty.FORMATS[ending]),
        )
        for ending in ("png", "jpg", "bmp", "tif")
    ],
    *[
        converted(ending, "transparency", functools.partial(faulty.transparent, mode, ending))
        for mode, ending in (("RGB", "png"), ("L", "png"), ("RGB", "webp"), ("RGB", "tif"))
    ],
    converted("png", "transparency", faulty.one_transparent_color),
    converted(
        "png",
        "palette",
        lambda: faulty.encoded(Image.fromarray(faulty.half()).quantize(99), "PNG"),
    ),
    *[
        converted(ending, "orientation is 6", functools.partial(faulty.turned, ending))
        for ending in ("jpg", "png", "webp")
    ],
    converted("jpg", "orientation is 3", lambda: faulty.turned("jpg", 3)),
    *[
        converted(ending, "2 frames", functools.partial(faulty.frames, ending))
        for ending in ("png", "tif", "webp")
    ],
    (
        "wrong-extension",
        "png",
        CONVERTED,
        "JPEG",
        lambda: faulty.encoded(faulty.half(), "JPEG", quality=95),
    ),
    ("wrong-extension", "jpg", CONVERTED, "PNG", lambda: faulty.encoded(faulty.half(), "PNG")),
    ("color-profile", "png", CONVERTED, "Lab", faulty.profiled),
]


@pytest.mark.parametrize(
    ("code", "ending", "built", "detail", "make"),
    FAULTS,
    ids=[f"{number}-{fault[3]}-{fault[1]}" for number, fault in enumerate(FAULTS)],
)
def test_examine_faulty_file_is_found_and_refused_or_converted(
    tmp_path, examine, try_to_build, code, ending, built, detail, make
):
    root = faulty.make_pairs(tmp_path / "set", frames=1)
    os.remove(f"{root}/blur/day/0.png")
    bad = f"blur/day/0.{ending}"
    with open(f"{root}/{bad}", "wb") as file:
        file.write(make())
    report = examine(root)
    named = [f for f in report.findings if f.code == code and detail in f.detail]
    assert [finding.file for finding in named] == [bad], report.to_text()
    assert report.exit_code == {0: 0, 1: 3, 2: 4}[report.severity]
    assert named[0].severity == 2 or built == CONVERTED
    # There are no other findings of higher severity.
    assert report.severity == named[0].severity or detail in ("transparency", "Lab")

    exit_code, error = try_to_build(root)
    assert exit_code == built, error
    if built == REFUSED:
        (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
        assert bad in line and line == error.splitlines()[-1]
    else:
        shape = images.load_rgb(f"{root}/{bad}").shape
        assert shape == (faulty.HEIGHT, faulty.WIDTH, 3)


def test_examine_clean_set_of_each_format_has_no_findings(tmp_path, examine):
    for ending in ("png", "bmp", "ppm", "tif"):
        report = examine(faulty.make_pairs(tmp_path / ending, ending=ending))
        assert report.findings == [] and report.exit_code == 0, report.to_text()
        assert report.examined == 6
