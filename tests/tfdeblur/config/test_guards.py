"""Whole runs with numbers that are not finite: stop, skip, go back."""

import numpy as np
import pytest

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


def test_skipping_leaves_the_steps_out_and_counts_them(folder, monkeypatch, capsys):
    poison(monkeypatch, write_data_set(files.join(folder, "data")))
    result = run(folder, guards={"on_nonfinite": "skip"})
    # Two epochs of three steps: the record turns up in each.
    assert result.images == 48
    printed = capsys.readouterr()
    assert printed.out.count("had no effect: generator/loss") == 2
    assert "skipped_steps=2" in printed.err
    rows = history(result.workdir)
    assert rows[-1]["guards/skipped_steps"] == "2.0"
    lost = [row for row in rows if not row["generator/loss"]]
    assert len(lost) == 2
    assert all(np.isfinite(value).all() for value in weights(result.workdir))
    assert "Skipped steps" in files.read_text(files.join(result.workdir, "index.html"))


@pytest.mark.slow
def test_a_skipping_run_that_was_stopped_goes_on_as_if_it_had_not_been(folder, monkeypatch):
    poison(monkeypatch, write_data_set(files.join(folder, "data")))
    for name, lengths in (("whole", [6]), ("parts", [4, 6])):
        for steps in lengths:
            run(folder, name, steps, guards={"on_nonfinite": "skip"})
    whole, parts = (files.join(folder, name) for name in ("whole", "parts"))
    for a, b in zip(weights(whole), weights(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    counts = [history(workdir)[-1]["guards/skipped_steps"] for workdir in (whole, parts)]
    assert counts[0] == counts[1] == "2.0"


@pytest.mark.slow
def test_skipping_for_ever_ends_the_run(folder):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "skip", "most_skips": 2}
    with pytest.raises(UserError, match=r"3 steps in a row were skipped because generator/loss"):
        run(folder, guards=guards, objective={"losses": {"mae": 1e39}})


@pytest.mark.slow
def test_going_back_trains_on_with_smaller_rates(folder, capsys):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "rollback", "rollback_factor": 1e-32}
    result = run(folder, **EXPLODES, guards=guards)
    assert result.images == 48
    printed = capsys.readouterr().out
    assert printed.count("Went back to") == 1
    assert "learning rates are multiplied by 1e-32 from here" in printed
    rows = history(result.workdir)
    assert [row["images"] for row in rows] == [str(n) for n in range(8, 56, 8)]
    assert {row["guards/rollbacks"] for row in rows} == {"1.0"}
    assert float(rows[-1]["generator/learning_rate"]) == pytest.approx(0.01)
    assert all(np.isfinite(value).all() for value in weights(result.workdir))

    # The smaller rates are remembered when the run goes on.
    train_whole = run(folder, "whole", 8, **EXPLODES, guards=guards)
    result = run(folder, "run", 8, **EXPLODES, guards=guards)
    for a, b in zip(weights(train_whole.workdir), weights(result.workdir), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_going_back_too_often_ends_the_run(folder):
    write_data_set(files.join(folder, "data"))
    guards = {"on_nonfinite": "rollback", "most_rollbacks": 2}
    with pytest.raises(UserError, match=r"gone back 2 times already .*last good checkpoint is"):
        run(folder, **EXPLODES, guards=guards)


def test_weights_that_are_no_numbers_are_not_saved(folder):
    """The update of the last step before a checkpoint breaks them; no loss has seen it yet."""
    write_data_set(files.join(folder, "data"))
    output = {"save_every": "1 steps", "log_every": "1 steps"}
    with pytest.raises(UserError, match=r"before image 8: weights of the generator are not fin"):
        run(folder, optimizer={"learning_rate": 1e39}, output=output)
    assert list_checkpoints(files.join(folder, "run/checkpoints")) == []


@pytest.mark.slow
def test_stopping_is_the_default_and_loses_nothing_saved(folder, monkeypatch):
    data = write_data_set(files.join(folder, "data"))
    run(folder, steps=2)
    poison(monkeypatch, data)
    with pytest.raises(UserError, match=r"diverged in step \d, .*The last good checkpoint is"):
        run(folder)
    assert load_generator(files.join(folder, "run"))[1]["images"] == 16


def test_saving_by_the_clock(folder):
    write_data_set(files.join(folder, "data"))
    output = {"save_every": "0.00001 minutes", "log_every": "2 steps", "keep": "all"}
    result = run(folder, runtime={"deterministic": True, "steps_per_loop": 2}, output=output)
    # The clock is looked at when a compiled call ends.
    whole = list_checkpoints(files.join(result.workdir, "checkpoints"))
    assert whole == [16, 32, 48]


@pytest.mark.parametrize("what", ["gradient", "wasserstein"])
def test_limits_in_the_wrong_order_are_told(what):
    with pytest.raises(ValueError, match=rf"least_{what} \(2\) must be below most_{what} \(2\)"):
        Guards(**{f"least_{what}": 2.0, f"most_{what}": 2.0})


@pytest.mark.parametrize(
    ("text", "resolved"), [("20 minutes", "20 minutes"), ("1.5minute", "1.5 minutes")]
)
def test_intervals_in_minutes(text, resolved):
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    run_config = config.resolve({**tree, "output": {"save_every": text}})
    assert run_config.output.save_every == resolved
    assert config.resolve(settings_of(run_config)).output.save_every == resolved


def settings_of(run_config):
    import yaml

    return yaml.safe_load(config.to_yaml(run_config))


@pytest.mark.parametrize("text", ["0 minutes", "-1 minutes", "soon", "3 hours"])
def test_intervals_that_are_none(text):
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"output\.save_every: "):
        config.resolve({**tree, "output": {"save_every": text}})


def test_only_checkpoints_go_by_the_clock():
    tree = {"workdir": "w", "model": "unet16", "objective": "content"}
    with pytest.raises(ConfigError, match=r"output\.log_every: must look like"):
        config.resolve({**tree, "output": {"log_every": "3 minutes"}})
