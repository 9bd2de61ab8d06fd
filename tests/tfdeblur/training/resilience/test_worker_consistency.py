"""Workers exchange text, and are refused if their settings, data or weights differ."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import toy_generator, two_replicas
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.resilience.worker_consistency import (
    agree_on_place,
    agree_on_start,
    weights_digest,
)

ONE_SET = {"records": 24, "training shards": "aa", "validation shards": "cc"}
DATA = {"sets": [ONE_SET], "order": {}}


class FakeEngine:
    """An engine with workers whose values are the chief's, each with a change."""

    def __init__(self, *changes):
        self.worker_names = ("the chief", *(f"worker {index + 1}" for index in range(len(changes))))
        self._changes = changes
        self.several_workers = bool(changes)
        self.versions = {"TensorFlow": "2.21.0"}
        self.gathered = []

    def gather(self, text):
        self.gathered.append(text)
        if not text:
            return ["" for _ in self.worker_names]
        answers = [json.loads(text) for _ in self.worker_names]
        for answer, change in zip(answers[1:], self._changes, strict=True):
            change(answer)
        return [json.dumps(answer) for answer in answers]


def putting(section, key, value):
    return lambda answer: answer[section].__setitem__(key, value)


def same(answer):
    pass


def start(*changes, data=DATA):
    engine = FakeEngine(*changes)
    agree_on_start(engine, {"seed": 0, "training.global_batch": 8, "data.crop": None}, data)
    return engine


@pytest.mark.parametrize("text", ["", "a", json.dumps({"name": "ü" * 5000})])
@pytest.mark.parametrize(
    "strategy", [two_replicas, lambda: tf.distribute.OneDeviceStrategy("/cpu:0")]
)
def test_gather_in_one_process_returns_its_text(strategy, text):
    engine = TensorFlowEngine(strategy())
    assert engine.worker_names == ("this process",)
    assert engine.gather(text) == [text]


@pytest.mark.parametrize(
    ("cluster", "task", "names", "rank"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), ("the chief", "worker 1"), 1),
        (
            {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]},
            ("worker", 0),
            ("the chief", "worker 0", "worker 1"),
            1,
        ),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), ("the chief", "worker 0"), 0),
    ],
)
def test_workers_are_named_as_in_tf_config(cluster, task, names, rank, monkeypatch):
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", SimpleNamespace)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
    )
    strategy = SimpleNamespace(cluster_resolver=resolver)
    assert runtime.places(strategy) == (names, rank)


def test_equal_workers_start():
    assert len(start(same, same).gathered) == 1


def test_single_process_exchanges_nothing():
    silent = FakeEngine()
    agree_on_start(silent, {}, DATA)
    agree_on_place(silent, 0)
    assert not silent.gathered


def test_other_setting_is_named_with_its_worker():
    with pytest.raises(ConfigError) as raised:
        start(same, putting("settings", "training.global_batch", 16))
    message = str(raised.value)
    assert "training.global_batch is 16 on worker 2, but 8 on the chief." in message
    assert "worker 1" not in message
    assert "seed" not in message


def test_equal_differences_are_merged():
    change = putting("settings", "data.crop", "12x12")
    with pytest.raises(ConfigError, match="is 12x12 on worker 1 and worker 2, but none on the"):
        start(change, change)


def test_missing_key_is_named():
    with pytest.raises(ConfigError, match="seed is missing on worker 1, but 0 on the chief"):
        start(lambda answer: answer["settings"].pop("seed"))


def test_other_version_is_named():
    with pytest.raises(ConfigError, match=r"TensorFlow is 1\.0 on worker 1, but 2\."):
        start(putting("settings", "TensorFlow", "1.0"))


def test_many_differences_are_counted():
    def change(answer):
        answer["settings"] |= {f"key{index}": 1 for index in range(9)}

    with pytest.raises(ConfigError, match="and 5 more"):
        start(change)


def test_other_data_are_named():
    with pytest.raises(ConfigError) as raised:
        start(putting("data", "training shards of data set 1", "bb"))
    assert "training shards of data set 1 is bb on worker 1, but aa on the chief" in str(
        raised.value
    )


def test_all_workers_have_the_answers_before_one_exits():
    engine = FakeEngine(putting("place", "images seen", 0))
    with pytest.raises(ConfigError) as raised:
        agree_on_place(engine, 32, rate_scale=1.0, weights="ab")
    assert len(engine.gathered) == 2
    assert "images seen is 0 on worker 1, but 32 on the chief. --workdir" in str(raised.value)


def test_weights_digest_of_equal_weights_is_equal_and_of_others_is_not():
    one, two = (toy_generator(seed=1).network for _ in range(2))
    assert weights_digest([one]) == weights_digest([two])
    kernel = two.trainable_variables[0]
    kernel.assign(kernel.numpy() + np.float32(1e-6))
    assert weights_digest([one]) != weights_digest([two])
