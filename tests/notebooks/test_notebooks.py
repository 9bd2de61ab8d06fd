"""Notebooks are small, have no outputs, and run."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tiny_data import write_data_set
from tfdeblur.io import files
from tfdeblur.data import schema

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_small_without_outputs(path):
    assert path.stat().st_size < 50_000
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def run(name, settings):
    """Runs a notebook with changed settings of its first cell; returns its namespace."""
    first, *rest = code_cells(next(path for path in NOTEBOOKS if path.stem == name))
    names = {}
    exec(first, names)
    assert settings.keys() <= names.keys()
    names |= settings
    for cell in rest:
        exec(cell, names)
    return names


@pytest.fixture
def shown(monkeypatch):
    """Counts the figures displayed."""
    figures = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: figures.append(1))
    yield figures
    import matplotlib.pyplot as plt  # loaded by notebooks only

    plt.close("all")


@pytest.mark.slow
def test_deblur_your_photos_without_a_model_trains_one(tmp_path, monkeypatch, shown, capsys):
    monkeypatch.chdir(tmp_path)
    names = run("deblur_your_photos", {"DURATION": "64 images"})
    assert len(shown) == 2
    for photo in ("chelsea.png", "coffee.png"):
        with Image.open(f"photos/{photo}") as before, Image.open(f"restored/{photo}") as after:
            assert before.size == after.size
            assert np.any(np.asarray(before) != np.asarray(after))
    assert "2 restored" in capsys.readouterr().out
    # With an existing model, and a file that is no image next to a photo.
    monkeypatch.setattr("tfdeblur.train.run", lambda config: pytest.fail("trained again"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deep").mkdir()
    (tmp_path / "photos" / "coffee.png").rename(tmp_path / "mine" / "deep" / "coffee.PNG")
    (tmp_path / "mine" / "broken.png").write_bytes(b"no picture")
    run("deblur_your_photos", {"MODEL": names["MODEL"], "PHOTOS": "mine", "OUT": "out"})
    assert len(shown) == 3
    printed = capsys.readouterr().out
    assert "1 restored into out" in printed and "broken.png" in printed
    assert "bytes of PNG" in printed
    run("deblur_your_photos", {"MODEL": "runs/small", "PHOTOS": "mine/deep/coffee.PNG"})
    assert len(shown) == 4


@pytest.mark.slow
def test_look_at_data_and_blur_runs(tmp_path, monkeypatch, shown, capsys):
    monkeypatch.chdir(tmp_path)
    names = run("look_at_data_and_blur", {"SCENES": 9})
    assert len(shown) == 5
    assert names["report"].exit_code == 0
    printed = capsys.readouterr().out
    assert "shard-damaged" in printed and "[repaired]" in printed
    assert names["pairs"]["blurred"].shape == (5, 96, 96, 3)


@pytest.mark.slow
def test_train_a_recipe_runs(tmp_path, monkeypatch, shown, capsys):
    """Runs with an existing small data set instead of the 60,000 images."""
    data, workdir = str(tmp_path / "data"), str(tmp_path / "run")
    write_data_set(data, side=32)
    monkeypatch.setattr("data_prep.build.run", lambda config: schema.Manifest.load(config.out))
    settings = {"DATA": data, "WORKDIR": workdir, "DURATION": "2 steps"}
    names = run("train_a_recipe", settings)
    assert names["restored"].shape == (6, 32, 32, 3)
    assert names["restored"].dtype == np.uint8
    assert files.exists(files.join(workdir, "saved_model", "saved_model.pb"))
    assert "blurred" in capsys.readouterr().out
    assert len(shown) == 1
