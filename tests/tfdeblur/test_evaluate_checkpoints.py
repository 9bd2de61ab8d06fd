"""Evaluation of every checkpoint of a run: one graph, one baseline, damage is skipped."""

import contextlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.helpers.tiny_data import write_data_set, write_mixed_set
from tfdeblur import config as train_config
from tfdeblur import evaluate, models, train
from tfdeblur.checkpoints.manifest import sealed
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.config import settings
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluate import EvaluateConfig
from tfdeblur.evaluation.measuring import SizePass
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.io.outputs import LIST


def config(**values):
    return settings.validate(EvaluateConfig, {"all_checkpoints": True, **values})


@pytest.fixture
def data(tmp_path):
    return write_data_set(f"{tmp_path}/pairs")


@pytest.fixture
def run(tmp_path):
    """A work directory with three checkpoints, of which the second is the best."""
    workdir = str(tmp_path / "run")
    keras.utils.set_random_seed(3)
    generator = models.create("unet16", {"width": 4, "residual": True})
    *_, last = [v for v in generator.network.trainable_variables if v.name == "bias"]
    store = CheckpointStore(workdir, keep="all")
    for images, shift in ((64, 0.5), (128, 0.0), (192, -0.3)):
        last.assign(np.full(last.shape, shift, np.float32))
        state = SimpleNamespace(
            generator=generator,
            images_seen=images,
            epoch_images=32,
            average=[],
            averaged=contextlib.nullcontext,
            arrays=dict,
        )
        store.save(state, {})
    return workdir


def damage(path):
    content = bytearray(files.read_bytes(path))
    content[len(content) // 2] ^= 1
    files.write_bytes(path, bytes(content))


def test_command_evaluates_all_and_marks_the_best(run, data, capsys):
    assert evaluate.main(["--workdir", run, "--data", data, "--all-checkpoints"]) == 0
    printed = capsys.readouterr().out
    first_words = [line.split()[0] for line in printed.splitlines() if line]
    assert first_words[2:6] == ["blurred", "64", "128", "192"]
    folder = f"{run}/evaluation/pairs-test"
    written = ["checkpoints.csv", "checkpoints.html", "checkpoints.json"]
    assert files.list_dir(folder) == [LIST, *written]
    stored = files.read_json(f"{folder}/checkpoints.json")
    assert [c["epochs"] for c in stored["checkpoints"]] == [2.0, 4.0, 6.0]
    assert stored["best"]["psnr_db"] == 128
    assert stored["source"] == "test" and stored["images"] == 6
    page = files.read_text(f"{folder}/checkpoints.html")
    assert page.count("<img") == 3 * 5


@pytest.mark.slow
def test_each_checkpoint_scores_as_on_its_own(run, data):
    table = evaluate.run_checkpoints(config(workdir=run, data=data)).card
    for stage in table.stages:
        alone = evaluate.run(
            settings.validate(
                EvaluateConfig,
                {"model": f"{run}/checkpoints/{stage.images:012d}", "data": data, "pictures": 0},
            )
        )
        assert stage.row == alone.card.rows["restored"]
        assert table.baseline == alone.card.rows["blurred"]
    assert len({stage.row["mse"] for stage in table.stages}) == 3


def test_network_is_traced_once_and_the_baseline_measured_once(run, data, monkeypatch):
    traces, measured = [], []
    restore, measure = Restorer.restore, SizePass.measure

    def traced(self, images):
        traces.append(images.shape)
        return restore(self, images)

    def counted(self, batch, with_input, *others):
        measured.append(with_input)
        return measure(self, batch, with_input, *others)

    monkeypatch.setattr(Restorer, "restore", traced)
    monkeypatch.setattr(SizePass, "measure", counted)
    evaluate.run_checkpoints(config(workdir=run, data=data))
    assert len(traces) == 1
    assert measured == [True, False, False]


def test_images_of_several_sizes_are_evaluated(run, tmp_path):
    path, _ = write_mixed_set(f"{tmp_path}/mixed", [(18, 30, [2]), (30, 18, [1])])
    table = evaluate.run_checkpoints(config(workdir=run, data=path, pictures=3)).card
    assert [stage.images for stage in table.stages] == [64, 128, 192]
    assert [strip.sharp.shape for strip in table.strips] == [(18, 30, 3), (18, 30, 3), (30, 18, 3)]
    assert table.images == 3 and [len(stage.pictures) for stage in table.stages] == [3, 3, 3]


def test_damaged_checkpoints_are_named_and_the_others_evaluated(run, data, capsys):
    broken = f"{run}/checkpoints/{64:012d}"
    damage(f"{broken}/generator.safetensors")
    files.write_text(f"{run}/checkpoints/{192:012d}/meta.json", "{")
    code = evaluate.main(["--workdir", run, "--data", data, "--all-checkpoints"])
    printed = capsys.readouterr()
    assert code == evaluate.EXIT_INCOMPLETE
    assert f"{broken}/generator.safetensors" in printed.err
    assert f"{192:012d}/meta.json" in printed.err
    assert f"{broken}/generator.safetensors" in printed.out
    stored = files.read_json(f"{run}/evaluation/pairs-test/checkpoints.json")
    assert [c["images_seen"] for c in stored["checkpoints"]] == [128]
    assert set(stored["skipped"]) == {broken, f"{run}/checkpoints/{192:012d}"}


def test_checkpoint_of_another_network_is_skipped(run, data):
    path = f"{run}/checkpoints/{128:012d}/meta.json"
    meta = files.read_json(path)
    # Both have the same weights.
    files.write_json(path, sealed({**meta, "model": {**meta["model"], "residual": False}}))
    table = evaluate.run_checkpoints(config(workdir=run, data=data)).card
    assert [stage.images for stage in table.stages] == [64, 192]
    (message,) = table.skipped.values()
    assert "'residual': False" in message


def test_checkpoints_of_earlier_versions_have_no_epochs(run, data):
    for images in (64, 128, 192):
        path = f"{run}/checkpoints/{images:012d}/meta.json"
        meta = files.read_json(path)
        del meta["epoch_images"], meta["sha256"]
        files.write_json(path, meta)
    result = evaluate.run_checkpoints(config(workdir=run, data=data, pictures=1))
    assert [stage.epochs for stage in result.card.stages] == [None] * 3
    assert "128 images" in files.read_text(result.report)


def test_invalid_inputs_raise_errors_that_name_them(run, data, tmp_path):
    with pytest.raises(UserError, match="neither --model"):
        evaluate.run_checkpoints(config(model=run, data=data))
    with pytest.raises(UserError, match="--checkpoint"):
        evaluate.run_checkpoints(config(workdir=run, data=data, checkpoint="last"))
    with pytest.raises(UserError, match="run_checkpoints"):
        evaluate.run(config(workdir=run, data=data))
    with pytest.raises(UserError, match="nowhere/checkpoints"):
        evaluate.run_checkpoints(config(workdir=str(tmp_path / "nowhere"), data=data))
    for images in (64, 128, 192):
        damage(f"{run}/checkpoints/{images:012d}/generator.safetensors")
    with pytest.raises(DataError, match="000064"):
        evaluate.run_checkpoints(config(workdir=run, data=data))


@pytest.mark.slow
def test_run_that_keeps_all_checkpoints_is_evaluated_at_every_epoch():
    folder = "ram://all-checkpoints"
    write_data_set(f"{folder}/data")
    workdir = f"{folder}/run"
    train.run(
        train_config.resolve(
            {
                "workdir": workdir,
                "model": {"name": "unet16", "width": 4},
                "objective": "content",
                "data": {"paths": [f"{folder}/data"]},
                "training": {"duration": "4 epochs", "global_batch": 8},
                "output": {"save_every": "1 epochs", "keep": "all"},
            }
        )
    )
    result = evaluate.run_checkpoints(config(workdir=workdir, data=f"{folder}/data"))
    assert [stage.epochs for stage in result.card.stages] == [1.0, 2.0, 3.0, 4.0]
    assert files.exists(f"{workdir}/evaluation/data-test/checkpoints.html")
