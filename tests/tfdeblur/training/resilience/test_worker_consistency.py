"""Workers compare what they have; a run that goes on is compared with itself."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import toy_generator, two_replicas
from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.resilience import worker_consistency
from tfdeblur.training.resilience.worker_consistency import (
    Workers,
    agree_on_place,
    agree_on_start,
    told_by_checkpoint,
    weights_digest,
)

ONE_SET = {"records": 24, "training shards": "aa", "validation shards": "cc"}
ORDER = {"seed": 0, "data.shuffle_block": 16, "data.weights": None}
DATA = {"sets": [ONE_SET], "order": ORDER}


class Table:
    """Workers around a table: `others` change what each but the chief says."""

    def __init__(self, *others):
        self.names = ("the chief", *(f"worker {index + 1}" for index in range(len(others))))
        self._others = others
        self.together = 0

    def gather(self, text):
        answers = [json.loads(text) for _ in self.names]
        for answer, change in zip(answers[1:], self._others, strict=True):
            change(answer)
        return [json.dumps(answer) for answer in answers]

    def leave_together(self):
        self.together += 1


def putting(section, key, value):
    return lambda answer: answer[section].__setitem__(key, value)


def same(answer):
    pass


def start(*others, data=DATA):
    table = Table(*others)
    agree_on_start(table, {"seed": 0, "training.global_batch": 8, "data.crop": None}, data)
    return table


class TestWorkers:
    @pytest.mark.parametrize("text", ["", "a", json.dumps({"name": "ü" * 5000})])
    def test_every_replica_says_the_same(self, text):
        for strategy in (two_replicas(), tf.distribute.OneDeviceStrategy("/cpu:0")):
            workers = Workers(strategy)
            assert len(workers.names) == 1
            assert workers.gather(text) == [text]
            workers.leave_together()

    @pytest.mark.parametrize(
        ("cluster", "task", "names", "place"),
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
    def test_are_called_as_in_tf_config(self, cluster, task, names, place, monkeypatch):
        monkeypatch.setattr(runtime, "spans_workers", lambda strategy: True)
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
        )
        strategy = SimpleNamespace(cluster_resolver=resolver)
        assert worker_consistency._places(strategy) == (names, place)


class TestOtherWorkers:
    def test_those_who_agree_go_on(self):
        assert start(same, same).together == 0

    def test_one_process_asks_nobody(self):
        silent = SimpleNamespace(names=("this process",))
        agree_on_start(silent, {}, DATA)
        agree_on_place(silent, 0)

    def test_another_setting_is_named_with_the_worker(self):
        with pytest.raises(ConfigError) as caught:
            start(same, putting("settings", "training.global_batch", 16))
        said = str(caught.value)
        assert "training.global_batch is 16 on worker 2, but 8 on the chief. Start all" in said
        assert "worker 1" not in said
        assert "seed" not in said

    def test_equal_mistakes_are_told_together(self):
        change = putting("settings", "data.crop", "12x12")
        with pytest.raises(ConfigError, match="is 12x12 on worker 1 and worker 2, but none on the"):
            start(change, change)

    def test_a_key_that_one_version_does_not_have(self):
        with pytest.raises(ConfigError, match="seed is missing on worker 1, but 0 on the chief"):
            start(lambda answer: answer["settings"].pop("seed"))

    def test_other_versions_are_named(self):
        with pytest.raises(ConfigError, match=r"TensorFlow is 1\.0 on worker 1, but 2\."):
            start(putting("settings", "TensorFlow", "1.0"))

    def test_many_differences_are_not_all_told(self):
        def change(answer):
            answer["settings"] |= {f"key{index}": 1 for index in range(9)}

        with pytest.raises(ConfigError, match="and 5 more"):
            start(change)

    def test_other_data_are_named(self):
        with pytest.raises(ConfigError) as caught:
            start(putting("data", "training shards of data set 1", "bb"))
        assert "training shards of data set 1 is bb on worker 1, but aa on the chief" in str(
            caught.value
        )
        assert "Give all workers the same data set" in str(caught.value)

    def test_all_have_heard_it_before_one_leaves(self):
        table = Table(putting("place", "images seen", 0))
        with pytest.raises(ConfigError) as caught:
            agree_on_place(table, 32, rate_scale=1.0, weights="ab")
        assert table.together == 1
        assert "images seen is 0 on worker 1, but 32 on the chief. --workdir must be one" in str(
            caught.value
        )

    def test_weights_have_a_digest(self):
        one, two = (toy_generator(seed=1).network for _ in range(2))
        assert weights_digest([one]) == weights_digest([two])
        kernel = two.trainable_variables[0]
        kernel.assign(kernel.numpy() + np.float32(1e-6))
        assert weights_digest([one]) != weights_digest([two])


def told(now=DATA, before=DATA, images=32, averaged=False, averages=False):
    meta = {"images": images, "averaged": averaged, "data": before}
    return told_by_checkpoint(meta, now, averages)


def with_set(**changes):
    return {**DATA, "sets": [{**ONE_SET, **changes}]}


def with_order(**changes):
    return {**DATA, "order": {**ORDER, **changes}}


class TestTheRunBefore:
    def test_nothing_is_told_where_nothing_changed(self):
        assert told() == []
        assert told(averaged=True, averages=True) == []

    def test_checkpoints_that_do_not_note_their_data_go_on_silently(self):
        assert told_by_checkpoint({"images": 32}, DATA, averages=False) == []

    def test_more_records(self):
        (said,) = told(with_set(**{"records": 40, "training shards": "bb"}))
        assert "an epoch had 24 images and has 40 now" in said
        assert "epoch 1.33 becomes epoch 0.80" in said
        assert "some come a second time and some do not come at all" in said

    def test_other_records_at_the_end_of_an_epoch(self):
        (said,) = told(with_set(**{"training shards": "bb"}), images=48)
        assert "24 images as before, but others" in said
        assert "The order of the images is a new one." in said
        assert "second time" not in said

    def test_another_order_of_several_data_sets(self):
        other = {**ONE_SET, "training shards": "bb"}
        pair, swapped = ({**DATA, "sets": sets} for sets in ([ONE_SET, other], [other, ONE_SET]))
        (said,) = told(swapped, pair, images=48)
        assert "second time" in said  # each data set has epochs of its own

    def test_other_validation_data(self):
        (said,) = told(with_set(**{"validation shards": None}))
        assert said.startswith("the validation split is not the one before")

    def test_another_order_in_mid_epoch(self):
        (said,) = told(with_order(seed=5, **{"data.shuffle_block": 4}))
        assert said.startswith("seed 0 -> 5, data.shuffle_block 16 -> 4 in the middle of an epoch")
        assert "some come a second time" in said

    def test_another_order_from_the_next_epoch_on_does_no_harm(self):
        assert told(with_order(seed=5), images=48) == []

    def test_averages_that_are_left_away(self):
        (said,) = told(averaged=True)
        assert said.startswith("training.ema_decay is left away")
