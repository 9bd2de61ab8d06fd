"""The worked example of a plug-in: its own tests, and a run from data to a restored photo."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from data_prep import build
from tfdeblur import deblur, evaluate, export, registry, train
from tfdeblur.io import files
from tfdeblur.metrics import METRICS


@pytest.fixture
def plugin(repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """The path of the example; what it registers is gone after the test."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(METRICS)
    yield str(repository / "examples" / "plugin" / "edges.py")
    sys.modules.pop("edges", None)
    METRICS.clear()
    METRICS.update(before)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process one that has not imported the plug-in."""
    sys.modules.pop("edges")
    monkeypatch.setattr(registry, "_registered", {})
    METRICS.pop("edge_mae")


def test_plugin_fulfills_the_contracts(plugin, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(pathlib.Path(plugin).parent))
    path = pathlib.Path(plugin).with_name("test_edges.py")
    spec = importlib.util.spec_from_file_location("test_edges_example", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    for check in tests.testing.MODEL_CHECKS:
        tests.test_model(check)
    for check in tests.testing.CRITIC_CHECKS:
        tests.test_critic(check)
    tests.test_objective()
    tests.test_metric()
    tests.test_source(tmp_path)
    tests.test_default_model_has_the_size_that_it_states()


@pytest.mark.slow
def test_run_with_a_plugin_needs_it_named_again(plugin, tmp_path, monkeypatch, capsys) -> None:
    photos, data, run = (str(tmp_path / name) for name in ("photos", "data", "run"))
    pathlib.Path(photos).mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        np.save(f"{photos}/{number}.npy", pixels)
    named = ["--plugins", plugin]
    built = ["arrays", *named, "--source", photos, "--out", data, "--workers", "1"]
    assert build.main(built) == 0
    trained = [
        *("--model", "shallow", "--model.width", "4", "--objective", "edges", "--steps", "2"),
        *("--data", data, "--workdir", run, "--global-batch", "2"),
        *("--output.best-metric", "edge_mae"),
    ]
    assert train.main([*named, *trained]) == 0
    recorded = yaml.safe_load(files.read_text(f"{run}/config.yaml"))
    assert recorded["plugins"] == [plugin]
    assert recorded["model"] == {"name": "shallow", "width": 4}

    # A preset names the network and not the module.
    preset = str(tmp_path / "shallow-preset")
    assert export.main([*named, "--workdir", run, "--format", "hub", "--out", preset]) == 0

    forget(monkeypatch)
    scored = ["--workdir", run, "--data", data, "--out", str(tmp_path / "scores")]
    photo = str(tmp_path / "photo.png")
    Image.fromarray(np.load(f"{photos}/0.npy")).save(photo)
    restored = [photo, "--model", run, "-o", str(tmp_path / "out.png")]
    exported = ["--workdir", run, "--out", str(tmp_path / "saved_model")]
    for main, words in (
        (evaluate.main, scored),
        (deblur.main, restored),
        (export.main, exported),
        (train.main, ["--config", f"{run}/config.yaml"]),
    ):
        capsys.readouterr()
        assert main(words) == 2
        assert f"--plugins {plugin}" in capsys.readouterr().err
        assert "edges" not in sys.modules
    of_preset = [photo, "--model", preset, "-o", str(tmp_path / "of_preset.png")]
    assert deblur.main(of_preset) == 2
    printed = capsys.readouterr().err
    assert "'shallow'" in printed and "--plugins MODULE" in printed and preset in printed

    assert deblur.main([*named, *of_preset]) == 0
    assert evaluate.main([*named, *scored]) == 0
    scores = files.read_json(str(tmp_path / "scores" / "scores.json"))
    assert scores["rows"]["restored"]["edge_mae"] > 0
    assert deblur.main([*named, *restored]) == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (32, 32)
    assert export.main([*named, *exported]) == 0
    assert train.main([*named, *trained]) == 0
