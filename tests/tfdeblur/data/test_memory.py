"""Samples from memory, without TensorFlow, equal those of the pipeline."""

import itertools

import numpy as np
import pytest

from tests.helpers.numbered_data import write_dataset
from tests.helpers.tiny_data import training_data
from tfdeblur.data import evaluation, mixture, pipeline, schema
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

SHARDS = (5, 3, 7, 1, 4, 6, 2)


@pytest.fixture
def without_tensorflow(monkeypatch):
    """Returns a function that opens training data as where TensorFlow is not installed."""

    def open_data(*paths, **options):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "has_tensorflow", lambda: False)
            return training_data(paths, **{"cache": "on", **options})

    return open_data


@pytest.fixture(autouse=True)
def few_open_shards(monkeypatch):
    monkeypatch.setattr(mixture, "OPEN_SHARDS", 3)


def taken(batches, count):
    return list(itertools.islice(batches, count))


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], np.asarray(other[name]))


CASES = {
    "flips": {"sets": [SHARDS]},
    "png": {"sets": [SHARDS], "encoding": "png"},
    "crop and turns": {"sets": [SHARDS], "crop": (3, 3), "quarter_turns": True},
    "parts": {"sets": [SHARDS], "parts": 4},
    "several sets": {"sets": [SHARDS, (9, 2)], "weights": (1.0, 2.0)},
    "several sets in parts": {"sets": [SHARDS, (9, 2)], "parts": 2, "crop": (3, 5)},
}


def paths_of(case):
    options = dict(case)
    sets, encoding = options.pop("sets"), options.pop("encoding", "raw")
    return [write_dataset(shards, encoding=encoding) for shards in sets], options


# At the beginning, inside a block, at the end of an epoch, and far beyond.
@pytest.mark.parametrize(
    "start", [28 * 40 + 13, *(pytest.param(start, marks=pytest.mark.slow) for start in (0, 3, 28))]
)
@pytest.mark.parametrize("name", CASES)
def test_samples_equal_the_pipelines(without_tensorflow, name, start):
    paths, options = paths_of(CASES[name])
    options = {**options, "seed": 5, "shuffle_block": 8, "vertical_flips": True}
    expected = training_data(paths, **options).dataset(4, start).as_numpy_iterator()
    found = without_tensorflow(*paths, **options).batches(4, start)
    assert_equal(taken(found, 16), taken(expected, 16))


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("host", [0, 1])
def test_hosts_share_batches_as_in_the_pipeline(without_tensorflow, parts, host):
    path = write_dataset(SHARDS)
    options = {"seed": 5, "shuffle_block": 8, "parts": parts}
    places = {"global_batch": 8, "hosts": 2, "host": host}
    expected = training_data(path, **options).dataset(4, 8, **places).as_numpy_iterator()
    found = without_tensorflow(path, **options).batches(4, 8, **places)
    assert_equal(taken(found, 9), taken(expected, 9))


def test_a_second_iterator_begins_at_its_own_position(without_tensorflow):
    data = without_tensorflow(write_dataset(SHARDS))
    first = taken(data.batches(4), 6)
    assert_equal(taken(data.batches(4, 8), 4), first[2:])


@pytest.mark.parametrize(
    "options", [{"cache": "off"}, {"synthesis": Degradation(blur="gaussian")}], ids=str
)
def test_what_needs_tensorflow_is_refused(without_tensorflow, options):
    path = write_dataset(SHARDS)
    with pytest.raises(UserError, match=r"tfdeblur\[cpu\]"):
        without_tensorflow(path, **options)


def test_sets_that_do_not_fit_in_memory_are_refused(without_tensorflow, monkeypatch):
    path = write_dataset(SHARDS)
    monkeypatch.setattr("tfdeblur.data.memory.host_memory", lambda: 1000)
    with pytest.raises(UserError, match=path):
        without_tensorflow(path, cache="auto")
    assert taken(without_tensorflow(path, cache="on").batches(4), 1)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_shard_is_named(without_tensorflow, damage):
    path = write_dataset(SHARDS)
    shard = files.join(path, schema.shard_name("train", 2, len(SHARDS)))
    data = without_tensorflow(path)
    content = files.read_bytes(shard)
    half = len(content) // 2
    changed = (
        content[:half] if damage == "truncated" else content[:half] + b"?" + content[half + 1 :]
    )
    files.write_bytes(shard, changed)
    with pytest.raises(DataError, match=shard):
        taken(data.batches(4), 8)


@pytest.mark.parametrize("limit", [None, 9])
def test_evaluation_batches_equal_the_pipelines(monkeypatch, limit):
    path = write_dataset((5, 3, 4), splits=("val",), encoding="png")
    data = EvaluationData(path, "val", limit)
    expected = list(data.dataset(5).as_numpy_iterator())
    monkeypatch.setattr(evaluation, "has_tensorflow", lambda: False)
    found = data.dataset(5)
    assert found.cardinality() == len(expected)
    assert found.element_spec["sharp"].shape == expected[0]["sharp"].shape
    for _ in range(2):
        assert_equal(list(found), expected)
