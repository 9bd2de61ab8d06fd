"""A run among others: what is compared before it trains, and what becomes of errors on the way."""

import json

import pytest
import tensorflow as tf

from tests.helpers.runs import settings
from tests.helpers.tiny_data import write_data_set
from tfdeblur import train
from tfdeblur.checkpoints.manifest import read_meta, write_meta
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.errors import ConfigError, DataError, WorkerLost
from tfdeblur.io import files
from tfdeblur.training import trainer
from tfdeblur.training.engines.tensorflow import runtime

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


class TestGoingOn:
    """A run that goes on tells what is other than before, and only that."""

    def test_other_data_and_settings_are_told_once(self, folder, data, capsys):
        train.run(short(folder))
        assert read_meta(newest(folder))["data"]["sets"][0]["records"] == 24
        capsys.readouterr()
        for name in files.list_dir(data):
            files.remove(files.join(data, name))
        write_data_set(data, {"train": 40})
        changed = {"optimizer": {"learning_rate": 0.02}, "seed": 3}
        train.run(short(folder, 2, **changed))
        said = capsys.readouterr().out
        assert "an epoch had 24 images and has 40 now" in said
        assert said.count("warning: ") == 1
        assert (
            "Changed since the last start: seed 0 -> 3; optimizer.learning_rate 0.01 -> 0.02; "
            "training.duration 1 steps -> 2 steps.\n" in said
        )
        # A checkpoint of a version that did not note its data is taken at its word.
        meta = read_meta(newest(folder))
        del meta["data"]
        write_meta(newest(folder), meta)
        write_data_set(data, {"train": 24})
        train.run(short(folder, 2, **changed))
        said = capsys.readouterr().out
        assert "Going on from" in said
        assert "warning" not in said
        assert "Changed" not in said


class TwoWorkers:
    """This process and another one that says the same, until it says something else."""

    names = ("the chief", "worker 1")
    calls = 0
    other_from = 0

    def __init__(self, strategy):
        pass

    def gather(self, text):
        TwoWorkers.calls += 1
        answer = json.loads(text)
        if TwoWorkers.calls >= TwoWorkers.other_from:
            section, values = next(iter(answer.items()))
            answer[section] = {**values, next(iter(values)): "another"}
        return [text, json.dumps(answer)]

    def leave_together(self):
        pass


@pytest.fixture
def two_workers(monkeypatch):
    def begin(other_from):
        monkeypatch.setattr(TwoWorkers, "calls", 0)
        monkeypatch.setattr(TwoWorkers, "other_from", other_from)
        monkeypatch.setattr(trainer, "Workers", TwoWorkers)

    return begin


class TestSeveralWorkers:
    """They are asked at the start, after restoring, and after going back."""

    def test_settings_are_compared_before_anything_is_written(self, folder, data, two_workers):
        two_workers(other_from=1)
        with pytest.raises(ConfigError, match="tfdeblur is another on worker 1"):
            train.run(short(folder))
        assert not files.exists(files.join(folder, "run"))

    def test_places_are_compared_after_restoring(self, folder, data, two_workers):
        train.run(short(folder))
        two_workers(other_from=2)
        with pytest.raises(ConfigError, match="images seen is another on worker 1, but 8 on the"):
            train.run(short(folder, 2))

    def test_places_are_compared_after_going_back(self, folder, data, two_workers):
        two_workers(other_from=3)
        run_config = short(
            folder,
            3,
            objective={"losses": {"mae": 1e39}},
            guards={"on_nonfinite": "rollback"},
        )
        with pytest.raises(ConfigError, match="images seen is another on worker 1, but 0 on the"):
            train.run(run_config)

    def test_a_worker_lost_before_the_first_step_is_one_sentence(self, folder, data, monkeypatch):
        def lost(strategy):
            raise tf.errors.UnavailableError(
                None, None, "Graph execution error:\n\nCollective ops is aborted by: Socket closed"
            )

        monkeypatch.setattr(runtime, "spans_workers", lambda strategy: True)
        monkeypatch.setattr(runtime, "is_chief", lambda strategy: True)
        monkeypatch.setattr(trainer, "Workers", lost)
        with pytest.raises(WorkerLost, match=r"\(Collective ops is aborted by: Socket closed\)"):
            train.run(short(folder))


def test_data_that_cannot_be_reached_are_one_sentence(folder, data, monkeypatch):
    """With several workers too: this one's data are no reason to suspect another worker."""
    message = f"HTTP 503 for {data}/train-1\n\t [[{{{{node IteratorGetNext}}}}]]"

    def fail(*_):
        raise tf.errors.UnavailableError(None, None, message)

    monkeypatch.setattr(trainer.Run, "train", fail)
    for several in (False, True):
        monkeypatch.setattr(runtime, "spans_workers", lambda strategy, several=several: several)
        monkeypatch.setattr(runtime, "is_chief", lambda strategy: True)
        monkeypatch.setattr(trainer, "Workers", TwoWorkers)
        monkeypatch.setattr(TwoWorkers, "other_from", 100)
        with pytest.raises(DataError, match=r"could not be read \(HTTP 503 for ram://"):
            train.run(short(folder))
