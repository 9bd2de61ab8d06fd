"""Commands where TensorFlow is not installed: the same files and results as with it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.runs import history, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur.inference.photo_codecs import encode_png

pytest.importorskip("jax")

WAYS = ("without", "with")

PROGRAM = """
import importlib
import sys
if sys.argv.pop(1) == "without":
    sys.modules["tensorflow"] = None  # importing it raises ModuleNotFoundError
command = importlib.import_module(f"tfdeblur.{sys.argv.pop(1)}")

if __name__ == "__main__":
    code = command.main(sys.argv[1:])
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "tf_keras")]
    assert sys.modules["tensorflow"] is not None or loaded == ["tensorflow"], loaded
    sys.exit(code)
"""


@pytest.fixture
def run(tmp_path, repository):
    """Returns the function that runs a command in a process of its own."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(tensorflow, command, *words, code=0):
        environment = {name: v for name, v in os.environ.items() if name != "KERAS_BACKEND"}
        environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)}
        done = subprocess.run(
            [sys.executable, "program.py", tensorflow, command, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def train(run, tmp_path):
    """Returns the function that trains."""
    write_data_set(str(tmp_path / "data"), {"train": 24, "val": 6}, side=32)
    words = [
        "--recipe",
        "unet16_cifar10",
        "--model.width",
        "4",
        "--data",
        "data",
        "--global-batch",
        "8",
    ]

    def train(tensorflow, workdir, *flags, code=0):
        return run(tensorflow, "train", *words, "--workdir", workdir, *flags, code=code)

    return train


@pytest.mark.slow
def test_run_resumes_and_equals_one_with_tensorflow(train, tmp_path):
    train("without", "run", "--steps", "2")  # auto takes JAX
    printed = train("without", "run", "--steps", "5", "--engine", "jax")
    assert "Resuming" in printed
    workdir = tmp_path / "run"
    assert {"index.html", "pictures", "tensorboard", "best", "checkpoints"} <= {
        path.name for path in workdir.iterdir()
    }
    assert list((workdir / "pictures").glob("*-restored-*.png"))
    rows = history(str(workdir))
    validated = {int(row["images"]) for row in rows if row["val/psnr_db"]}
    assert {16, 40} <= validated

    train("with", "whole", "--steps", "5", "--engine", "jax")
    whole = weights(str(tmp_path / "whole"))
    for ours, theirs in zip(weights(str(workdir)), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "flags",
    [["--data.cache", "off"], ["--synthesis.blur", "gaussian"], ["--engine", "tensorflow"]],
    ids=str,
)
def test_what_needs_tensorflow_is_refused_in_one_line(train, tmp_path, flags):
    printed = train("without", "run", "--steps", "2", *flags, code=2)
    assert "tfdeblur[cpu]" in printed and "Traceback" not in printed
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_restored_photos_equal_those_with_tensorflow(run, write_run, tmp_path):
    write_run(str(tmp_path / "run"))
    pixels = np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    # Whole, and in tiles.
    for name, flags in {"whole": (), "tiles": ("--tile", "48", "--overlap", "16")}.items():
        for tensorflow in ("without", "with"):
            out = f"{tensorflow}-{name}.png"
            run(tensorflow, "deblur", "photo.png", "--model", "run", "-o", out, *flags)
        ours, theirs = (np.asarray(Image.open(tmp_path / f"{t}-{name}.png"), int) for t in WAYS)
        assert np.abs(ours - theirs).max() <= 1
    deep = np.zeros((8, 8, 3), np.uint16)
    (tmp_path / "deep.png").write_bytes(encode_png(deep))
    printed = run("without", "deblur", "deep.png", "--model", "run", "-o", "deep-out.png", code=1)
    assert "deep.png" in printed and "tfdeblur[cpu]" in printed and "Traceback" not in printed


@pytest.mark.slow
def test_scores_equal_those_with_tensorflow(run, write_run, tmp_path):
    write_run(str(tmp_path / "run"))
    write_data_set(str(tmp_path / "data"), {"test": 5}, side=32)
    found = []
    for tensorflow in WAYS:
        flags = ("--workdir", "run", "--data", "data", "--split", "test", "--out", tensorflow)
        run(tensorflow, "evaluate", *flags)
        scores = next((tmp_path / tensorflow).rglob("scores.json"))
        found.append(json.loads(scores.read_text())["settings"])
        assert list((tmp_path / tensorflow).rglob("*.png"))
    for ours, theirs in zip(*found, strict=True):
        for key, average in theirs["averages"].items():
            assert ours["averages"][key]["mean"] == pytest.approx(average["mean"], rel=1e-4), key
