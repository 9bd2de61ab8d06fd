"""The command `tfdeblur.paper sets --data`, which evaluates what is missing before its table."""

import csv
import io
import math

import numpy as np
import pytest
from PIL import Image

from data_prep import build
from tests.helpers.raw_data import make_gopro, make_hide, make_realblur
from tests.helpers.runs import settings
from tests.helpers.score_cards import full_card
from tests.helpers.tiny_data import write_data_set
from tfdeblur import evaluate, train
from tfdeblur.evaluate import EvaluateConfig
from tfdeblur.evaluation.scores import FULL_FILES
from tfdeblur.io import files
from tfdeblur.paper.__main__ import main


@pytest.fixture
def run(write_run, tmp_path):
    write_run(f"{tmp_path}/run")
    return f"{tmp_path}/run"


@pytest.fixture
def data(tmp_path):
    return write_data_set(f"{tmp_path}/pairs", {"test": 4})


@pytest.fixture
def asked(monkeypatch):
    """Runs and data sets of the full evaluations that a command asks for; none is made."""
    found = []
    monkeypatch.setattr(evaluate, "run_full", lambda c: found.append((c.workdir, c.data)))
    return found


@pytest.mark.slow
def test_each_run_is_evaluated_once_on_each_set(write_run, tmp_path, capsys, monkeypatch):
    runs = [f"{tmp_path}/{name}" for name in ("one", "two")]
    for path in runs:
        write_run(path)
    sets = [
        write_data_set(f"{tmp_path}/{name}", {"test": 4}, seed=seed)
        for seed, name in enumerate(("a", "b"))
    ]
    # It does not count: it is a quick one.
    evaluate.run(EvaluateConfig(workdir=runs[0], data=sets[0]))
    out = f"{tmp_path}/table.csv"
    command = ["sets", *runs, "--data", *sets, "--out", out]
    assert main(command) == 0
    progress = [line for line in capsys.readouterr().err.splitlines() if "Evaluating" in line]
    assert progress == [f"Evaluating {path} on {data}." for path in runs for data in sets]
    for path in runs:
        for name in ("a", "b"):
            card = files.read_json(f"{path}/evaluation/{name}-test/card.json")
            assert (card["from"], card["images"]) == (path, 4)
    table = files.read_text(out)
    lines = list(csv.DictReader(io.StringIO(table)))
    assert [line.pop("network") for line in lines] == ["blurred", "one", "two"]
    columns = [f"{name}-test/{key}" for name in ("a", "b") for key in ("psnr_db", "ssim")]
    for line in lines:
        assert list(line) == columns
        assert all(math.isfinite(float(value)) for value in line.values())
    assert lines[0]["a-test/psnr_db"] != lines[0]["b-test/psnr_db"]

    asked = []
    monkeypatch.setattr(evaluate, "run_full", lambda c: asked.append((c.workdir, c.data)))
    assert main(command) == 0
    assert not asked and files.read_text(out) == table
    another = write_data_set(f"{tmp_path}/c", {"test": 2})
    assert main(["sets", *runs, "--data", *sets, another, "--out", out]) == 0
    assert asked == [(path, another) for path in runs]


@pytest.mark.slow
def test_networks_trained_on_one_set_are_tested_on_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes = [f"scene{number:03d}" for number in range(1, 6)]
    raw = tmp_path / "raw"
    make_gopro(raw / "gopro", {"train": ["A", "B", "C", "D"], "test": ["E"]})
    make_hide(raw / "hide")
    make_realblur(raw / "realblur", {"train": scenes[:4], "test": scenes[4:]})
    images = {"gopro": 2, "hide": 3, "realblur": 2}
    for name in images:
        options = {"source": f"{raw}/{name}", "out": name, "tile": "16x16", "workers": 1}
        build.run(build.config_class(name)(**options))
    for name in ("gopro", "realblur"):
        sections = {"data": {"paths": [name]}, "training": {"duration": "9 steps"}}
        train.run(settings("", workdir=f"{name}-run", **sections))
    runs = ["gopro-run", "realblur-run", "unet16-cifar10"]
    assert main(["sets", *runs, "--data", *images, "--out", "table.csv"]) == 0
    for run in ("gopro-run/evaluation", "realblur-run/evaluation", "scores/unet16-cifar10"):
        for name, count in images.items():
            card = files.read_json(f"{run}/{name}-test/card.json")
            assert (card["source"], card["images"]) == (name, count)
    lines = list(csv.DictReader(io.StringIO(files.read_text("table.csv"))))
    assert [line.pop("network") for line in lines] == ["blurred", *runs]
    assert list(lines[0]) == [f"{n}-test/{key}" for n in images for key in ("psnr_db", "ssim")]
    for column in lines[0]:  # another score for each network, on each of the sets
        assert len({float(line[column]) for line in lines}) == 4
    folders = [raw / "gopro/test/E" / half for half in ("blur", "sharp")]
    frames = [
        [np.asarray(Image.open(p), float) / 255 for p in sorted(f.iterdir())] for f in folders
    ]
    expected = np.mean(-10 * np.log10(np.mean(np.subtract(*frames) ** 2, axis=(1, 2, 3))))
    assert float(lines[0]["gopro-test/psnr_db"]) == pytest.approx(expected, abs=1e-3)


def test_presets_are_evaluated_into_the_folder_of_scores(run, data, tmp_path, monkeypatch, capsys):
    made = []

    def evaluated(config):
        made.append((config.model or config.workdir, config.full))
        card = full_card([1.0, 2.0], about={"data": config.data})
        card.write(config.out or evaluate.default_folder(config), FULL_FILES)

    monkeypatch.setattr(evaluate, "run_full", evaluated)
    monkeypatch.chdir(tmp_path)
    for folder in ("scores", "elsewhere"):
        command = ["sets", run, "unet16-cifar10", "--scores", folder]
        assert main([*command, "--data", data]) == 0
        assert files.exists(f"{tmp_path}/{folder}/unet16-cifar10/pairs-test/card.json")
        assert main([*command, "--data", data]) == 0  # nothing is missing
        capsys.readouterr()
        assert main(command) == 0  # of what has been evaluated
        assert "unet16-cifar10" in capsys.readouterr().out
    assert made == [(run, True), ("unet16-cifar10", True), ("unet16-cifar10", True)]
    # A folder of that name wins, as everywhere.
    files.make_dirs(f"{tmp_path}/unet16-cifar10")
    assert main(["sets", "unet16-cifar10", "--data", data]) == 2
    assert "unet16-cifar10 holds no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("known", "again"),
    [({"data_fingerprint": ""}, False), ({}, False), ({"data_fingerprint": "x"}, True)],
)
def test_evaluation_counts_unless_it_is_of_other_data_of_the_same_name(
    run, data, known, again, asked, capsys
):
    card = full_card([1.0, 2.0], about={"from": run, "data": data, **known})
    card.write(f"{run}/evaluation/pairs-test", FULL_FILES)
    assert main(["sets", run, "--data", data]) == 0
    assert asked == ([(run, data)] if again else [])
    assert "1 networks on 1 test sets" in capsys.readouterr().out


def test_a_set_that_is_named_twice_is_one(run, data, asked, capsys):
    assert main(["sets", run, "--data", data, f"{data}/"]) == 2  # no evaluation to set in a table
    assert asked == [(run, data)]
    assert f"{run} holds no evaluation" in capsys.readouterr().err


def test_everything_is_checked_before_the_first_evaluation(run, data, tmp_path, asked, capsys):
    def error_of(*arguments):
        assert main(["sets", run, *arguments]) == 2
        return capsys.readouterr().err

    assert f"{tmp_path}/none" in error_of("--data", data, f"{tmp_path}/none")
    assert f"{data} and other/pairs have the same name" in error_of("--data", data, "other/pairs")
    assert "psnr_db" in error_of("--data", data, "--metrics", "psnr")
    assert "labels" in error_of("--data", data, "--labels", "one", "two")
    assert f"{tmp_path}/none is not a folder" in error_of(f"{tmp_path}/none", "--data", data)
    assert "unet16-cifar10" in error_of("unet16-cifar1", "--data", data)
    empty = f"{tmp_path}/empty"
    files.make_dirs(empty)
    assert f"{empty} holds no checkpoint" in error_of(empty, "--data", data)
    mine = tmp_path / "mine.md"
    mine.write_text("mine")
    assert str(mine) in error_of("--data", data, "--out", str(mine))
    assert not asked and mine.read_text() == "mine"
