"""Notebooks are small, share their setup, and run on either backend of Keras."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import notebooks
from tests.helpers.notebooks import NOTEBOOKS, SETUP, code_cells, read
from tests.helpers.raw_data import make_gopro
from tests.helpers.tiny_data import write_data_set

# Their pictures are CC0 or generated; those of the others are of data sets with terms.
WITH_OUTPUTS = ("deblur_your_photos", "look_at_data_and_blur")

# Every notebook runs in the slow tests on one of these, and in the long ones on all.
BACKENDS = {
    "jax": {"backend": "jax"},
    "jax-8": {"backend": "jax", "devices": 8},
    "tensorflow": {"backend": "tensorflow"},
}


def on_backends(chosen):
    marks = {name: pytest.mark.slow if name == chosen else pytest.mark.long for name in BACKENDS}
    return pytest.mark.parametrize(
        "where", [pytest.param(BACKENDS[name], marks=mark, id=name) for name, mark in marks.items()]
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_small_and_only_of_pictures_that_may_be_published(path):
    assert path.stat().st_size < 400_000
    for cell in read(path)[1]:
        assert cell["outputs"] == [] or path.stem in WITH_OUTPUTS
        assert cell["execution_count"] is None
        assert not re.search(r"/root|/home|/tmp", json.dumps(cell["outputs"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_setup_cell_is_the_shared_one(path):
    """`python -m tests.helpers.notebooks` writes it."""
    assert notebooks.setup_cell(path) == SETUP.read_text("utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_first_cell_sets_what_the_setup_reads(path):
    names = {}
    exec(code_cells(path)[0], names)
    assert {"LIBRARY", "DRIVE", "HOME", "PREVIOUS"} <= names.keys()


def cifar10(folder, **options):
    """Settings for a tiny data set of images of 32x32 pixels, and a network of width 4."""
    small = {"training": {"global_batch": 8}, **options}
    small["model"] = {"width": 4, **small.get("model", {})}
    data = write_data_set(str(folder / "data"), side=32)
    return {"BUILT": data, "DURATION": "3 steps", "OPTIONS": small}


def wgan_gp(folder):
    """The same for the adversarial recipe; each step is a call of the engine."""
    output, runtime = {"log_every": "1 steps"}, {"steps_per_loop": 1}
    small = {"model": {"depth": 10}, "critic": {"width": 4}, "output": output, "runtime": runtime}
    return cifar10(folder, **small)


def gopro(folder):
    """Settings for three scenes of two small frames each, and a small network."""
    scenes = {"train": ["GOPR0372_07_00", "GOPR0374_11_00"], "test": ["GOPR0384_11_00"]}
    make_gopro(folder / "gopro", scenes, width=96, height=64)
    small = {
        "model": {"width": 4, "encoder": [1, 1], "decoder": [1, 1]},
        "training": {"global_batch": 8},
        "data": {"crop": 16},
    }
    tiles = {"TILES": {"tile": "32x32"}, "DURATION": "2 steps", "OPTIONS": small}
    return {"GOPRO": str(folder / "gopro"), **tiles}


def curves_of(workdir):
    """The names of the charts beside a run."""
    return sorted(path.name for path in (workdir / "figures/curves-figures").iterdir())


# Small settings of each notebook, for a folder that they may write to.
RUNS = {
    "train_cifar10": cifar10,
    "train_wgan_gp_cifar10": wgan_gp,
    "train_gopro": gopro,
    "deblur_your_photos": lambda folder: {},
    "look_at_data_and_blur": lambda folder: {"SCENES": 9},
}


def test_all_notebooks_have_small_settings():
    assert RUNS.keys() == {path.stem for path in NOTEBOOKS}


@on_backends("jax-8")
def test_train_cifar10(where, tmp_path):
    printed, figures = notebooks.run("train_cifar10", cifar10(tmp_path), tmp_path, **where)
    assert "blurred" in printed and "saved_model" in printed and figures == 2
    assert (tmp_path / "runs/unet16_cifar10/saved_model/saved_model.pb").is_file()
    assert curves_of(tmp_path / "runs/unet16_cifar10") == ["loss.png", "psnr.png"]
    assert where["backend"] != "jax" or any((tmp_path / "jax_cache").iterdir())


@on_backends("jax")
def test_train_wgan_gp_cifar10_resumes_what_the_previous_session_left(where, tmp_path):
    name, settings = "train_wgan_gp_cifar10", wgan_gp(tmp_path)
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    # The time is up after the first step, before any validation.
    short = {**settings, "MINUTES": 1e-9}
    printed, figures = notebooks.run(name, short, first, until="history.csv", **where)
    assert "Stopped; saved" in printed and figures == 1
    longer = {**settings, "PREVIOUS": str(first)}
    printed, figures = notebooks.run(name, longer, second, until="evaluate.run", **where)
    assert "Resuming from" in printed and "Stopped" not in printed
    assert "blurred" in printed and figures == 1


@on_backends("tensorflow")
def test_train_gopro(where, tmp_path):
    printed, figures = notebooks.run("train_gopro", gopro(tmp_path), tmp_path, **where)
    assert "blurred" in printed and figures == 2
    assert (tmp_path / "runs/nafnet32_gopro/saved_model/saved_model.pb").is_file()
    assert curves_of(tmp_path / "runs/nafnet32_gopro") == ["loss.png", "psnr.png"]


@on_backends("jax")
def test_deblur_your_photos(where, tmp_path):
    """A preset restores photos of scikit-image; a file that is no image does not stop others."""
    name = "deblur_your_photos"
    printed, figures = notebooks.run(name, RUNS[name](tmp_path), tmp_path, **where)
    assert "2 restored" in printed and figures == 2
    for photo in ("chelsea.png", "coffee.png"):
        before, after = (Image.open(tmp_path / name / photo) for name in ("photos", "restored"))
        assert before.size == after.size
        assert np.any(np.asarray(before) != np.asarray(after))
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "photos/coffee.png").rename(tmp_path / "mine/deep/coffee.PNG")
    (tmp_path / "mine/broken.png").write_bytes(b"no picture")
    settings = {"MODEL": "unet16-cifar10", "PHOTOS": "mine", "OUT": "out"}
    printed, figures = notebooks.run(name, settings, tmp_path, **where)
    assert "1 restored into out" in printed and "broken.png" in printed and figures == 1


@on_backends("tensorflow")
def test_look_at_data_and_blur(where, tmp_path):
    name = "look_at_data_and_blur"
    printed, figures = notebooks.run(name, RUNS[name](tmp_path), tmp_path, **where)
    assert "shard-damaged" in printed and "[repaired]" in printed and figures == 5
