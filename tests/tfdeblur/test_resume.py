"""A run that is stopped after any step and resumed equals an uninterrupted one."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.runs import history, settings
from tests.helpers.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.checkpoints.arrays import read_arrays
from tfdeblur.checkpoints.manifest import STATE
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.io import files

OBJECTIVES = {
    "content": {"objective": {"name": "content", "losses": {"mae": 1.0}}},
    "wgan_gp": {
        "objective": {
            "name": "wgan_gp",
            "critic_updates": 2,
            "losses": {"mse": 1.0},
            "adversarial_weight": 0.01,
        },
        "critic": {"name": "patch_gan", "layers": 1, "width": 4},
    },
}
STEPS = 6
# The steps after which a run is stopped; on two devices, which take longer, one per epoch.
STOPS = {"one": range(1, STEPS), "mirrored": (2, 5)}


def configure(folder, workdir, objective, strategy, steps=STEPS):
    return settings(
        folder,
        workdir,
        **objective,
        # Batch norm and dropout have states of their own.
        model={"name": "deblurgan", "blocks": 1, "width": 4, "dropout": 0.5},
        data={"paths": [files.join(folder, "data")], "crop": "12", "quarter_turns": True},
        optimizer={"learning_rate": 0.003},
        schedule={"name": "cosine", "warmup": "2 steps"},
        training={"duration": f"{steps} steps", "global_batch": 4, "ema_decay": 0.9},
        runtime={"deterministic": True, "strategy": strategy},
        output={
            "save_every": "1 steps",
            "log_every": "1 steps",
            "validate_every": "3 steps",
            "keep": "all",
        },
    )


def state_of(workdir):
    """Every array in the newest checkpoint: weights, optimizers, averages, seeds, counters."""
    checkpoints = files.join(workdir, "checkpoints")
    folder = files.join(checkpoints, f"{list_checkpoints(checkpoints)[-1]:012d}")
    return read_arrays(files.join(folder, STATE))


def curves(workdir):
    """The history, without speeds."""
    speed = ("images_per_second", "epoch_seconds", "waiting_for_data")
    return [{k: v for k, v in row.items() if k not in speed} for row in history(workdir)]


def tensorboard_steps(workdir, tag):
    folder = files.join(workdir, "tensorboard")
    steps = []
    for name in files.list_dir(folder):
        for event in tf.compat.v1.train.summary_iterator(files.join(folder, name)):
            steps += [event.step for value in event.summary.value if value.tag == tag]
    return steps


def copy_checkpoint(source, target, images):
    """Copies what a run leaves that is killed right after a checkpoint."""
    for name in files.walk_files(source):
        parts = name.split("/")
        if parts[0] == "checkpoints" and int(parts[1]) != images:
            continue
        if parts[0] in ("tensorboard", "best"):
            continue
        path = files.join(target, name)
        files.make_dirs(files.parent(path))
        files.write_bytes(path, files.read_bytes(files.join(source, name)))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STOPS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_run_resumed_after_any_step_equals_uninterrupted_run(objective, strategy, tmp_path):
    folder = str(tmp_path)
    # 10 images: epochs end inside batches.
    write_data_set(files.join(folder, "data"), {"train": 10, "val": 2})
    whole = files.join(folder, "whole")
    train.run(configure(folder, "whole", OBJECTIVES[objective], strategy))
    expected, expected_curves = state_of(whole), curves(whole)
    assert len(expected_curves) == STEPS
    assert any("seed" in name for name in expected)
    for stopped in STOPS[strategy]:
        name = f"stopped-{stopped}"
        workdir = files.join(folder, name)
        copy_checkpoint(whole, workdir, 4 * stopped)
        train.run(configure(folder, name, OBJECTIVES[objective], strategy))
        got = state_of(workdir)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(got[key], value, err_msg=f"{name}: {key}")
        assert curves(workdir) == expected_curves
        steps = tensorboard_steps(workdir, "generator/loss")
        assert steps == [4 * step for step in range(stopped + 1, STEPS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_run_resumed_on_other_number_of_devices_sees_the_same_images(objective, tmp_path):
    """Sums over devices round in another order, so weights are close but not equal."""
    folder = str(tmp_path)
    write_data_set(files.join(folder, "data"), {"train": 10, "val": 2})
    plain = {**OBJECTIVES[objective], "strategy": "one"}
    del plain["strategy"]
    whole = files.join(folder, "whole")
    train.run(without_noise(configure(folder, "whole", plain, "one")))
    copy_checkpoint(whole, files.join(folder, "two"), 12)
    train.run(without_noise(configure(folder, "two", plain, "mirrored")))
    rows = [curves(files.join(folder, name))[-1] for name in ("whole", "two")]
    for name in ("generator/loss", "epoch", "images"):
        assert float(rows[1][name]) == pytest.approx(float(rows[0][name]), rel=0.01)


def without_noise(run_config):
    """Removes dropout and batch norm, whose masks and statistics depend on the devices."""
    import yaml

    from tfdeblur import config

    tree = yaml.safe_load(config.to_yaml(run_config))
    model = {"name": "deblurgan", "blocks": 1, "width": 4, "norm": "instance", "dropout": 0.0}
    return config.resolve({**tree, "model": model})
