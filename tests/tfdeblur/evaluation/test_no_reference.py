"""Scores of photos without sharp images."""

import csv

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.tfdeblur.metrics.test_niqe import parameters
from tfdeblur import evaluate
from tfdeblur.io import files
from tfdeblur.metrics.niqe import Niqe


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "photos/day").mkdir(parents=True)
    photo = skimage.data.astronaut()
    Image.fromarray(photo[:200, :300]).save(tmp_path / "photos/a.png")
    Image.fromarray(photo[200:400, :300]).save(tmp_path / "photos/day/b.png")
    np.savez(tmp_path / "niqe.npz", **parameters())
    return tmp_path


def words(desk, *more):
    return ["--no-reference", f"{desk}/photos", "--niqe", f"{desk}/niqe.npz", *more]


def test_photos_are_scored_as_they_are(desk, capsys):
    assert evaluate.main(words(desk, "--out", f"{desk}/scores")) == 0
    printed = capsys.readouterr().out
    assert "NIQE" in printed and "restored" not in printed
    tree = files.read_json(f"{desk}/scores/no-reference.json")
    expected = Niqe("p", parameters())(skimage.data.astronaut()[:200, :300])
    with open(f"{desk}/scores/no-reference.csv", newline="") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert float(rows[f"{desk}/photos/a.png"]["input_niqe"]) == pytest.approx(expected)
    assert len(rows) == tree["photos"] == 2
    mean = np.mean([float(row["input_niqe"]) for row in rows.values()])
    assert tree["mean_niqe"]["input"] == pytest.approx(mean)


def test_photos_are_scored_before_and_after_restoration(desk, write_run, capsys):
    write_run(f"{desk}/run")
    assert evaluate.main(words(desk, "--workdir", f"{desk}/run")) == 0
    assert "restored" in capsys.readouterr().out
    tree = files.read_json(f"{desk}/run/evaluation/no-reference/no-reference.json")
    assert set(tree["mean_niqe"]) == {"input", "restored"}
    assert tree["mean_niqe"]["input"] != tree["mean_niqe"]["restored"]
    assert tree["model"] == "unet16" and tree["niqe_sha256"]


def test_photos_that_cannot_be_scored_are_listed(desk, capsys):
    (desk / "photos/c.png").write_bytes(b"no photo")
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(desk / "photos/d.png")
    out = f"{desk}/scores"
    assert evaluate.main(words(desk, "--out", out)) == 1
    errors = capsys.readouterr().err
    assert "c.png" in errors and "d.png" in errors
    assert len(files.read_json(f"{out}/no-reference.json")["skipped"]) == 2


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--no-reference", "photos", "--out", "o"], "niqe"),
        (["--no-reference", "photos", "--niqe", "n"], "out"),
        (["--no-reference", "photos", "--full"], "--no-reference"),
        (["--dists-weights", "a", "b", "--data", "d", "--workdir", "w"], "dists_weights"),
    ],
)
def test_incomplete_settings_exit_with_2(more, named, capsys):
    assert evaluate.main(more) == 2
    assert named in capsys.readouterr().err


def test_folder_without_photos_exits_with_2(desk, capsys):
    (desk / "empty").mkdir()
    more = ["--no-reference", f"{desk}/empty", "--niqe", f"{desk}/niqe.npz", "--out", f"{desk}/o"]
    assert evaluate.main(more) == 2
    assert f"{desk}/empty" in capsys.readouterr().err
