"""Every notebook is small, without outputs, and its code runs."""

import json
import pathlib

import numpy as np
import pytest

from tests.tfdeblur.tiny_data import write_data_set
from tfdeblur import files
from tfdeblur.data import schema

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_and_hold_no_outputs(path):
    assert path.stat().st_size < 50_000
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_train_a_recipe_runs(tmp_path, monkeypatch, capsys):
    """With a data set that is there already, in place of the 60,000 images."""
    data, workdir = str(tmp_path / "data"), str(tmp_path / "run")
    write_data_set(data, side=32)
    monkeypatch.setattr("data_prep.build.run", lambda config: schema.Manifest.load(config.out))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    path = next(path for path in NOTEBOOKS if path.stem == "train_a_recipe")
    first, *rest = code_cells(path)
    names = {}
    exec(first, names)
    names |= {"DATA": data, "WORKDIR": workdir, "DURATION": "2 steps"}
    for cell in rest:
        exec(cell, names)
    assert names["restored"].shape == (6, 32, 32, 3)
    assert names["restored"].dtype == np.uint8
    assert files.exists(files.join(workdir, "saved_model", "saved_model.pb"))
    assert "blurred" in capsys.readouterr().out
