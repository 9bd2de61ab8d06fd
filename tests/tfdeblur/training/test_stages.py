"""Progressive training: what each stage trains on, resuming, what is refused at the start."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.trainer import Trainer

STAGES = [
    {"start": "3 steps", "crop": 16, "global_batch": 4},
    {"start": "5 steps", "crop": 8, "global_batch": 2},
]


def configure(folder, workdir="run", steps=7, stages=STAGES, runtime=None):
    training = {"duration": f"{steps} steps", "global_batch": 8, "ema_decay": 0.9}
    return settings(
        folder,
        workdir,
        training={**training, "stages": stages},
        data={"paths": [files.join(folder, "data")], "crop": 8},
        runtime=runtime or {"deterministic": True},
        output={"log_every": "1 steps", "validate_every": "1 epochs", "save_every": "1 steps"},
    )


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of the batches that each stage begins with, with its position."""
    seen = []
    batches = TensorFlowEngine.batches

    def recorded(self, data, start_image, plan):
        seen.append((start_image, (plan.global_batch, data.height, data.width)))
        return batches(self, data, start_image, plan)

    monkeypatch.setattr(TensorFlowEngine, "batches", recorded)
    return seen


@pytest.mark.slow
def test_each_stage_has_its_crops_and_batches(folder, shapes, capsys):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    result = train.run(configure(folder))
    assert result.images == 3 * 8 + 2 * 4 + 2 * 2
    assert shapes == [(0, (8, 8, 8)), (24, (4, 16, 16)), (32, (2, 8, 8))]
    rows = history(result.workdir)
    logged = [int(row["images"]) for row in rows if row["generator/loss"]]
    assert logged == [8, 16, 24, 28, 32, 34, 36]
    # Hooks of the end of a run wait for the end of the last stage.
    assert [int(row["images"]) for row in rows if row["val/psnr_db"]] == [24, 36]
    assert "Stage 3 of 3, starting at 32 images" in capsys.readouterr().out


@pytest.mark.slow
def test_resumed_stages_equal_uninterrupted_ones(folder):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    train.run(configure(folder, "whole"))
    # Inside the first stage, at the border of the next, inside that, and in the last one.
    for steps in (2, 3, 4, 6, 7):
        train.run(configure(folder, "parts", steps))
    whole, parts = (weights(files.join(folder, name)) for name in ("whole", "parts"))
    for ours, theirs in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ({"crop": 32}, "data.crop"),  # larger than the tiles
        ({"crop": 12}, "data.crop"),  # not a multiple of the network's 8
    ],
)
def test_crops_that_do_not_fit_are_refused_before_training(folder, stage, key):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    run_config = configure(folder, stages=[{"start": "3 steps", **stage}])
    with pytest.raises(UserError, match=rf"training\.stages\.0: {key}"):
        train.run(run_config)
    assert not files.exists(run_config.workdir)


def test_batches_that_hosts_cannot_share_by_file_are_refused_before_training(folder, monkeypatch):
    write_data_set(files.join(folder, "data"), {"train": 20, "val": 4})
    start = TensorFlowEngine.start

    def with_two_hosts(self, *args):
        start(self, *args)
        self.worker_names = ("chief", "worker 1")

    monkeypatch.setattr(TensorFlowEngine, "start", with_two_hosts)
    run_config = configure(folder, stages=[{"start": "3 steps", "global_batch": 6}])
    data = dataclasses.replace(run_config.data, parts=4)
    with pytest.raises(ConfigError, match=r"training\.stages\.0: data\.parts"):
        Trainer(dataclasses.replace(run_config, data=data)).prepare()


def test_pairs_that_are_used_as_they_come_have_no_stages_of_crops(folder):
    images = np.zeros((8, 16, 16, 3), np.uint8)
    pairs = tf.data.Dataset.from_tensor_slices((images, images))
    with pytest.raises(ConfigError, match=r"training\.stages\.0: crop"):
        train.run(configure(folder, stages=[{"start": "3 steps", "crop": 8}]), train_data=pairs)
