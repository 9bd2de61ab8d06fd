"""A guarded run: comparisons before it trains, warnings on resume, and explained errors."""

import json

import pytest
import tensorflow as tf

from tests.helpers.runs import settings
from tests.helpers.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.checkpoints.manifest import read_meta, write_meta
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.errors import ConfigError, DataError, Stopped, WorkerLost
from tfdeblur.io import files
from tfdeblur.training import engines
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.trainer import Trainer

EARLY = {
    "output": {"validate_every": "9 epochs", "save_every": "1 steps", "log_every": "1 steps"},
}


def short(folder, steps=1, **sections):
    sections = {**EARLY, **sections}
    return settings(folder, **sections, training={"duration": f"{steps} steps"})


@pytest.fixture
def data(folder):
    return write_data_set(files.join(folder, "data"), {"train": 24})


def newest(folder):
    checkpoints = files.join(folder, "run", "checkpoints")
    return files.join(checkpoints, f"{list_checkpoints(checkpoints)[-1]:012d}")


@pytest.mark.slow
def test_resume_with_other_data_and_settings_warns_once(folder, data, capsys):
    train.run(short(folder))
    assert read_meta(newest(folder))["data"]["sets"][0]["records"] == 24
    capsys.readouterr()
    for name in files.list_dir(data):
        files.remove(files.join(data, name))
    write_data_set(data, {"train": 40})
    changed = {"optimizer": {"learning_rate": 0.02}, "seed": 3}
    train.run(short(folder, 2, **changed))
    output = capsys.readouterr().out
    assert "an epoch had 24 images and now has 40" in output
    assert output.count("warning: ") == 1
    assert (
        "Changed since the last start: seed 0 -> 3; optimizer.learning_rate 0.01 -> 0.02; "
        "training.duration 1 steps -> 2 steps.\n" in output
    )
    # A checkpoint of a version that did not record its data is assumed to have had the same.
    meta = read_meta(newest(folder))
    del meta["data"]
    write_meta(newest(folder), meta)
    write_data_set(data, {"train": 24})
    train.run(short(folder, 2, **changed))
    output = capsys.readouterr().out
    assert "Resuming from" in output
    assert "warning" not in output
    assert "Changed" not in output


@pytest.mark.slow
def test_time_limit_saves_after_the_first_call_and_resumes(folder, data):
    limited = {"runtime": {"max_minutes": 1e-9, "steps_per_loop": 1}}
    for images in (8, 16):
        with pytest.raises(Stopped) as stopped:
            train.run(short(folder, 3, **limited))
        assert stopped.value.exit_code == 143
        assert newest(folder).endswith(f"{images:012d}")
    assert train.run(short(folder, 3)).images == 24


class TwoWorkers(TensorFlowEngine):
    """This process and a second worker with the same values, until it has others."""

    calls = 0
    differs_from = 0

    def start(self, seed, config, global_batch=None):
        super().start(seed, config, global_batch)
        self.worker_names = ("the chief", "worker 1")

    def any_worker(self, flags):
        return list(flags)

    def gather(self, text):
        if not text:
            return ["", ""]
        TwoWorkers.calls += 1
        answer = json.loads(text)
        if TwoWorkers.calls >= TwoWorkers.differs_from:
            section, values = next(iter(answer.items()))
            answer[section] = {**values, next(iter(values)): "another"}
        return [text, json.dumps(answer)]


@pytest.fixture
def two_workers(monkeypatch):
    """Adds a second worker, which differs from a given comparison on."""

    def begin(differs_from):
        monkeypatch.setattr(TwoWorkers, "calls", 0)
        monkeypatch.setattr(TwoWorkers, "differs_from", differs_from)
        monkeypatch.setattr(engines, "create", lambda requested: TwoWorkers())

    return begin


def test_workers_with_other_settings_are_refused_before_anything_is_written(
    folder, data, two_workers
):
    two_workers(differs_from=1)
    with pytest.raises(ConfigError, match="tfdeblur is another on worker 1"):
        train.run(short(folder))
    assert not files.exists(files.join(folder, "run"))


@pytest.mark.slow
def test_workers_with_other_checkpoints_are_refused_after_restoring(folder, data, two_workers):
    train.run(short(folder))
    before = files.read_bytes(files.join(folder, "run/config.yaml"))
    two_workers(differs_from=2)
    with pytest.raises(ConfigError, match="images seen is another on worker 1, but 8 on the"):
        train.run(short(folder, 2))
    assert files.read_bytes(files.join(folder, "run/config.yaml")) == before


def test_workers_with_other_checkpoints_are_refused_after_rollback(folder, data, two_workers):
    two_workers(differs_from=3)
    run_config = short(
        folder,
        3,
        objective={"losses": {"mae": 1e39}},
        guards={"on_nonfinite": "rollback"},
    )
    with pytest.raises(ConfigError, match="images seen is another on worker 1, but 0 on the"):
        train.run(run_config)


def test_worker_lost_before_first_step_raises_worker_lost(folder, data, monkeypatch, two_workers):
    def lost(*_):
        raise tf.errors.UnavailableError(
            None, None, "Graph execution error:\n\nCollective ops is aborted by: Socket closed"
        )

    two_workers(differs_from=100)
    monkeypatch.setattr(TwoWorkers, "gather", lost)
    with pytest.raises(WorkerLost, match=r"\(Collective ops is aborted by: Socket closed\)"):
        train.run(short(folder))


@pytest.mark.parametrize("several", [False, True])
def test_unreachable_data_raise_data_error(several, folder, data, monkeypatch, two_workers):
    """With several workers too: this one's data do not implicate another worker."""
    message = f"HTTP 503 for {data}/train-1\n\t [[{{{{node IteratorGetNext}}}}]]"

    def fail(*_):
        raise tf.errors.UnavailableError(None, None, message)

    if several:
        two_workers(differs_from=100)
    monkeypatch.setattr(Trainer, "train", fail)
    with pytest.raises(DataError, match=r"\(HTTP 503 for ram://"):
        train.run(short(folder))
