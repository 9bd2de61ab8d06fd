"""Runs with non-finite values: stop, skip, roll back."""

import numpy as np
import pytest
import yaml

from tests.helpers.poison import poison
from tests.helpers.runs import history, settings, weights
from tests.helpers.tiny_data import write_data_set
from tfdeblur import config, train
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config.guards import Guards
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files

EXPLODES = {"optimizer": {"learning_rate": 1e30}}


def run(folder, workdir="run", steps=6, **sections):
    sections["training"] = {"duration": f"{steps} steps", "global_batch": 8}
    sections.setdefault("output", {"save_every": "2 steps", "log_every": "1 steps"})
    sections.setdefault("runtime", {"deterministic": True})
    return train.run(settings(folder, workdir, **sections))


@pytest.mark.slow
def test_skip_omits_nonfinite_steps_and_counts_them(folder, monkeypatch, capsys):
    poison(monkeypatch, write_data_set(files.join(folder, "data")))
    result = run(folder, guards={"on_nonfinite": "skip"})
    # Two epochs of three steps: the poisoned record occurs once in each.
    assert result.images == 48
    printed = capsys.readouterr()
    assert printed.out.count("warning: skipped 1 step before") == 2
    assert "skipped_steps=2" in printed.err
    rows = history(result.workdir)
    assert rows[-1]["guards/skipped_steps"] == "2.0"
    omitted = [row for row in rows if not row["generator/loss"]]
    assert len(omitted) == 2
    assert all(np.isfinite(value).all() for value in weights(result.workdir))
    assert "Skipped steps" in files.read_text(files.join(result.workdir, "index.html"))


@pytest.mark.slow
def test_skip_in_resumed_run_equals_uninterrupted_run(folder, monkeypatch):
    poison(monkeypatch, write_data_set(files.join(folder, "data")))
    for name, lengths in (("straight", [6]), ("resumed", [4, 6])):
        for steps in lengths:
            run(folder, name, steps, guards={"on_nonfinite": "skip"})
    straight, resumed = (files.join(folder, name) for name in ("straight", "resumed"))
    for a, b in zip(weights(straight), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    counts = [history(workdir)[-1]["guards/skipped_steps"] for workdir in (straight, resumed)]
    assert counts[0] == counts[1] == "2.0"


@pytest.mark.slow
def test_skip_beyond_maximum_raises_user_error(folder):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "skip", "max_consecutive_skips": 2}
    with pytest.raises(UserError, match=r"3 steps .*generator/loss.*guards\.max_consecutive_skips"):
        run(folder, guards=guards, objective={"losses": {"mae": 1e39}})


@pytest.mark.slow
def test_rollback_continues_with_smaller_learning_rates(folder, capsys):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "rollback", "rollback_factor": 1e-32}
    result = run(folder, **EXPLODES, guards=guards)
    assert result.images == 48
    printed = capsys.readouterr().out
    assert printed.count("Rolled back to") == 1
    assert "learning rates are multiplied by 1e-32 from here" in printed
    rows = history(result.workdir)
    assert [row["images"] for row in rows] == [str(n) for n in range(8, 56, 8)]
    assert {row["guards/rollbacks"] for row in rows} == {"1.0"}
    assert float(rows[-1]["generator/learning_rate"]) == pytest.approx(0.01)
    assert all(np.isfinite(value).all() for value in weights(result.workdir))

    # A resumed run keeps the smaller rates.
    straight = run(folder, "straight", 8, **EXPLODES, guards=guards)
    result = run(folder, "run", 8, **EXPLODES, guards=guards)
    for a, b in zip(weights(straight.workdir), weights(result.workdir), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_rollback_beyond_maximum_raises_user_error(folder):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "rollback", "max_rollbacks": 2}
    with pytest.raises(UserError, match=r"rolled back 2 times before.*last good checkpoint is"):
        run(folder, **EXPLODES, guards=guards)


def test_nonfinite_weights_are_not_saved(folder):
    """The last update before a checkpoint makes them non-finite, after the last loss."""
    write_data_set(files.join(folder, "data"))
    output = {"save_every": "1 steps", "log_every": "1 steps"}
    with pytest.raises(UserError, match=r"image 8: .*generator"):
        run(folder, optimizer={"learning_rate": 1e39}, output=output)
    assert list_checkpoints(files.join(folder, "run/checkpoints")) == []


@pytest.mark.slow
def test_stop_is_default_and_keeps_last_checkpoint(folder, monkeypatch):
    data = write_data_set(files.join(folder, "data"))
    run(folder, steps=2)
    poison(monkeypatch, data)
    with pytest.raises(UserError, match=r"step \d, .*last good checkpoint"):
        run(folder)
    assert load_generator(files.join(folder, "run"))[1]["images"] == 16


@pytest.mark.slow
def test_save_every_in_minutes_saves_after_each_call(folder):
    write_data_set(files.join(folder, "data"))
    output = {"save_every": "0.00001 minutes", "log_every": "2 steps", "keep": "all"}
    result = run(folder, runtime={"deterministic": True, "steps_per_loop": 2}, output=output)
    # The clock is read at the end of each compiled call.
    saved = list_checkpoints(files.join(result.workdir, "checkpoints"))
    assert saved == [16, 32, 48]


@pytest.mark.parametrize("quantity", ["gradient", "wasserstein"])
def test_minimum_not_below_maximum_raises_value_error(quantity):
    with pytest.raises(ValueError, match=rf"min_{quantity} .*max_{quantity}"):
        Guards(**{f"min_{quantity}": 2.0, f"max_{quantity}": 2.0})


@pytest.mark.parametrize(
    ("text", "resolved"), [("20 minutes", "20 minutes"), ("1.5minute", "1.5 minutes")]
)
def test_interval_in_minutes_reads_back_from_yaml(text, resolved):
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    run_config = config.resolve({**tree, "output": {"save_every": text}})
    assert run_config.output.save_every == resolved
    read = config.resolve(yaml.safe_load(config.to_yaml(run_config)))
    assert read.output.save_every == resolved


@pytest.mark.parametrize("text", ["0 minutes", "-1 minutes", "soon", "3 hours"])
def test_invalid_interval_is_an_error(text):
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"output\.save_every: "):
        config.resolve({**tree, "output": {"save_every": text}})


def test_log_every_in_minutes_is_an_error():
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"^output\.log_every: "):
        config.resolve({**tree, "output": {"log_every": "3 minutes"}})
