"""Larger batches for all devices, and what changes with them."""

import math

import pytest

from tfdeblur import config
from tfdeblur.errors import ConfigError
from tfdeblur.training.scaling import scaled_to

TREE = {
    "workdir": "unused",
    "model": "unet16",
    "objective": {"name": "wgan_gp", "losses": {"mse": 1.0}},
    "optimizer": {"learning_rate": 0.1},
    "schedule": {
        "name": "step",
        "warmup": "40 steps",
        "every": "3 epochs",
        "milestones": ["30 steps", "9 epochs"],
        "cycle": "50 steps",
        "final": 0.01,
    },
    "networks": {"critic": {"optimizer": {"learning_rate": 0.3}}},
    "training": {"global_batch": 6, "duration": "100 steps", "ema_decay": 0.9},
}


@pytest.mark.parametrize("devices", [1, 2, 3, 6])
def test_batch_that_devices_can_share_is_unchanged(devices, capsys):
    run_config = config.resolve(TREE)
    assert scaled_to(run_config, devices) is run_config
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("devices", "batch"), [(4, 8), (8, 8), (16, 16)])
def test_batch_is_the_next_multiple_and_the_rest_follows(devices, batch, capsys):
    found = scaled_to(config.resolve(TREE), devices)
    assert found.training.global_batch == batch
    root = math.sqrt(batch / 6)
    generator, schedule = found.for_network("generator")
    critic, own_schedule = found.for_network("critic")
    assert generator.learning_rate == pytest.approx(0.1 * root)
    assert critic.learning_rate == pytest.approx(0.3 * root)
    for one in (schedule, own_schedule):
        assert one.final == pytest.approx(0.01 * root)
        assert one.every == "3 epochs"
        for shortened, steps in ((one.warmup, 40), (one.milestones[0], 30), (one.cycle, 50)):
            assert float(shortened.split()[0]) * batch == pytest.approx(steps * 6)
        assert one.milestones[1] == "9 epochs"
    assert float(found.training.duration.split()[0]) * batch == pytest.approx(600)
    assert found.training.ema_decay == pytest.approx(0.9 ** (batch / 6))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_common_settings_are_scaled_once():
    tree = {key: value for key, value in TREE.items() if key != "networks"}
    found = scaled_to(config.resolve(tree), 8)
    assert found.for_network("critic")[0].learning_rate == pytest.approx(0.1 * math.sqrt(8 / 6))


def test_run_with_stages_is_refused():
    stages = [{"start": "60 images", "global_batch": 2}]
    tree = {**TREE, "training": {**TREE["training"], "stages": stages}}
    with pytest.raises(ConfigError, match=r"training\.scale_batch"):
        scaled_to(config.resolve(tree), 8)
