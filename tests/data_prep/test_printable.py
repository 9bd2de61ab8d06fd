"""File names cannot send control characters to the terminal."""

import os

import pytest

from data_prep import build, doctor
from tests.helpers import faulty_data as faulty
from tfdeblur.data.schema import Manifest

# An escape sequence, a bell, a line break, a reversal of direction, and a byte that is not UTF-8.
HARMFUL = "a\x1b[2J\x07\n\u202eb"


def check_harmless(text):
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert r"\x1b[2J\x07" in text and r"\u202eb" in text


@pytest.fixture
def root(tmp_path):
    """A set of pairs with a harmful name of its folder, a scene and an image."""
    root = faulty.make_pairs(tmp_path / HARMFUL, scenes=(HARMFUL, "day", "dusk"))
    os.truncate(f"{root}/blur/{HARMFUL}/0.png", 200)
    faulty.write(f"{root}/blur/day/{HARMFUL}.png", faulty.half())
    return root


def test_doctor_harmful_names_are_escaped(root, tmp_path, capsys):
    page, data = tmp_path / "a.html", tmp_path / "a.json"
    words = [root, "--html", str(page), "--json", str(data), "--workers", "1"]
    assert doctor.main(words) == 4
    printed = capsys.readouterr()
    check_harmless(printed.out)
    assert "\x1b" not in printed.err and "\u202e" not in printed.err
    check_harmless(page.read_text())
    check_harmless(data.read_text().replace(r"\u001b", r"\x1b").replace(r"\u0007", r"\x07"))


def test_doctor_error_with_harmful_name_is_escaped(root, capsys):
    assert doctor.main([f"{root}/blur/{HARMFUL}/9.png"]) == 2
    check_harmless(capsys.readouterr().err)


def test_build_error_with_harmful_name_is_escaped(root, tmp_path, capsys):
    halves = ["--blurred", f"{root}/blur", "--sharp", f"{root}/sharp"]
    assert build.main(["pairs", *halves, "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    check_harmless(capsys.readouterr().err)


def test_errors_about_options_are_escaped(tmp_path, capsys):
    for main, words in (
        (build.main, [f"a{HARMFUL}"]),
        (build.main, ["sharp", "--source", "a", "--out", "b", f"--x{HARMFUL}", "1"]),
        (doctor.main, [str(tmp_path), "--source", HARMFUL]),
    ):
        assert main(words) == 2
        check_harmless(capsys.readouterr().err)


def test_build_output_with_harmful_names_is_escaped(root, tmp_path, capsys):
    words = ["sharp", "--source", f"{root}/sharp", "--out", str(tmp_path / f"out{HARMFUL}")]
    assert build.main([*words, "--workers", "1", "--test-share", "0.9", "--tile", "16"]) == 0
    notes, _, out = capsys.readouterr().out.partition(str(tmp_path))
    check_harmless(notes)
    check_harmless(out)
    check_harmless("".join(Manifest.load(str(tmp_path / f"out{HARMFUL}")).notes))
