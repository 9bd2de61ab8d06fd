"""The quickstart: its parts, and (slow) the complete program."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfdeblur.evaluation.scores import ScoreCard, Setting


@pytest.fixture(scope="module")
def quickstart(repository: pathlib.Path):
    """The program as a module."""
    path = repository / "examples" / "quickstart.py"
    spec = importlib.util.spec_from_file_location("quickstart_example", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def card(**changes: float) -> ScoreCard:
    """A card of one image that gains in every metric except for `changes`."""
    blurred = {"psnr_db": 20.0, "ssim": 0.5, "mse": 0.01, "mae": 0.08, "log_cosh": 0.005}
    restored = {"psnr_db": 23.0, "ssim": 0.6, "mse": 0.005, "mae": 0.05, "log_cosh": 0.002}
    rows = {
        Setting("blurred", "uint8", "whole"): blurred,
        Setting("restored", "float", "whole"): restored | changes,
    }
    return ScoreCard(
        values={
            setting: {metric: np.array([value]) for metric, value in row.items()}
            for setting, row in rows.items()
        },
        differs=np.array([True]),
        lost_gradient=np.array([0.5]),
        scenes=("s",),
        frames=("f",),
    )


def test_collect_photos_finds_disjoint_training_and_held_out_photos(
    quickstart, tmp_path: pathlib.Path
) -> None:
    folder = quickstart.collect_photos(tmp_path / "photos")
    names = {path.name for path in folder.iterdir()}
    listed = [*quickstart.TRAINING_PHOTOS, *quickstart.HELD_OUT_PHOTOS]
    assert len(listed) == len(set(listed)) and names == set(listed)
    for name in names:
        with Image.open(folder / name) as image:
            image.load()


def test_corners_of_the_strip_are_inside_their_photos(quickstart, tmp_path: pathlib.Path) -> None:
    folder = quickstart.collect_photos(tmp_path / "photos")
    for name in quickstart.HELD_OUT_PHOTOS:
        with Image.open(folder / name) as image:
            width, height = image.size
        top, left = quickstart.CORNERS[name]
        assert 0 <= top <= height - quickstart.SIDE and 0 <= left <= width - quickstart.SIDE


@pytest.mark.parametrize(
    ("changes", "better"),
    [({}, True), ({"psnr_db": 19.0}, False), ({"ssim": 0.4}, False), ({"mae": 0.1}, False)],
)
def test_better_requires_a_gain_in_every_metric_on_every_set(
    quickstart, changes: dict[str, float], better: bool
) -> None:
    result = quickstart.QuickstartResult({}, {"photos": card(), "scenes": card(**changes)})
    assert result.better is better


def test_row_psnr_equals_the_formula(quickstart) -> None:
    sharp = np.full((4, 4, 3), 100, np.uint8)
    row = quickstart.Row(blurred=sharp + 10, restored=sharp + 1, sharp=sharp)
    assert row.psnr_db(row.blurred) == pytest.approx(20 * np.log10(25.5))
    assert row.psnr_db(row.restored) == pytest.approx(20 * np.log10(255))


def test_draw_strip_writes_an_image(quickstart, tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    rows = [quickstart.Row(*rng.integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)) for _ in range(2)]
    quickstart.draw_strip(rows, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        assert min(image.size) > 300


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_quickstart_improves_the_images_and_writes_all_files(
    repository: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    call = [sys.executable, "examples/quickstart.py", "--out", str(out)]
    done = subprocess.run(call, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    printed = [line.rsplit("  ", 1)[-1].strip() for line in done.stdout.splitlines()]
    places = (
        "restored-preset",
        "run/index.html",
        "saved_model",
        "restored",
        "before_and_after.png",
    )
    for place in places:
        assert (out / place).exists()
        assert str(out / place) in printed, place
    for scores in out.glob("run/evaluation/*-test/scores.json"):
        rows = json.loads(scores.read_text(encoding="utf-8"))["rows"]
        assert rows["restored"]["psnr_db"] > rows["blurred"]["psnr_db"] + 0.5, scores
    for name in ("chelsea.png", "coffee.png"):
        with Image.open(out / "blurred" / name) as a, Image.open(out / "restored" / name) as b:
            assert a.size == b.size
