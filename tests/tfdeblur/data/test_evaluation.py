from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_data import write_mixed_set
from tfdeblur.data.dataset import read_errors
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.schema import write_shard
from tfdeblur.errors import ConfigError, DataError

Write = Callable[..., str]


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_dataset_has_each_pair_once_in_file_order(dataset: Write, encoding: str) -> None:
    data = EvaluationData(dataset([3, 0, 4], splits=("test",), encoding=encoding), "test")
    assert (data.records, data.height, data.width) == (7, 4, 6)
    batches = list(data.dataset(3))
    assert len(batches) == 3
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert valid.tolist() == [True] * 7 + [False] * 2
    frames = np.concatenate([batch["frame"] for batch in batches])
    assert [int(frame) for frame in frames[:7]] == list(range(7))
    scenes = np.concatenate([batch["scene"] for batch in batches])
    assert scenes[:7].tolist() == [b"scene0"] * 5 + [b"scene1"] * 2
    blurred = np.concatenate([batch["blurred"] for batch in batches])
    sharp = np.concatenate([batch["sharp"] for batch in batches])
    np.testing.assert_array_equal(blurred[:7], 255 - sharp[:7])
    assert not blurred[7:].any() and not sharp[7:].any()
    assert [256 * int(i[0, 0, 0]) + int(i[0, 0, 1]) for i in blurred[:7]] == list(range(7))


def test_dataset_has_static_shapes(dataset: Write) -> None:
    spec = EvaluationData(dataset([3]), "train").dataset(5).element_spec
    assert spec == {
        "blurred": tf.TensorSpec([5, 4, 6, 3], tf.uint8),
        "sharp": tf.TensorSpec([5, 4, 6, 3], tf.uint8),
        "scene": tf.TensorSpec([5], tf.string),
        "frame": tf.TensorSpec([5], tf.string),
        "place": tf.TensorSpec([5, 4], tf.int64),
        "valid": tf.TensorSpec([5], tf.bool),
    }


@pytest.mark.parametrize(("limit", "records"), [(1, 1), (4, 4), (100, 7), (None, 7)])
def test_limit_truncates_the_dataset(dataset: Write, limit: int | None, records: int) -> None:
    data = EvaluationData(dataset([3, 4]), "train", limit=limit)
    assert data.records == records
    valid = [int(batch["valid"].numpy().sum()) for batch in data.dataset(2)]
    assert sum(valid) == records


def test_invalid_arguments_raise(dataset: Write) -> None:
    path = dataset([5])
    with pytest.raises(ConfigError, match="limit"):
        EvaluationData(path, "train", limit=0)
    with pytest.raises(ConfigError, match="batch_size"):
        EvaluationData(path, "train").dataset(0)
    with pytest.raises(DataError, match="'test'"):
        EvaluationData(path, "test")


def test_split_with_missing_records_raises(dataset: Write) -> None:
    path = dataset([5])
    data = EvaluationData(path, "train")
    shard = f"{path}/{data.manifest.splits['train'].shards[0].file}"
    records = [record.numpy() for record in tf.data.TFRecordDataset(shard)]
    write_shard(shard, records[:3])
    with pytest.raises(DataError, match=shard), read_errors([path], "train"):
        list(data.dataset(2))


@pytest.fixture
def mixed(folder):
    return write_mixed_set(folder, [(4, 6, [2, 1]), (6, 4, [4]), (8, 10, [1])])


def test_images_of_several_sizes_come_in_file_order(mixed) -> None:
    path, groups = mixed
    data = EvaluationData(path, "test")
    assert (data.records, data.height, data.width) == (8, 0, 0)
    assert data.sizes == data.manifest.split("test").sizes
    batches = list(data.dataset(2))
    assert len(batches) == 5
    frames = np.concatenate([batch["frame"][batch["valid"]] for batch in batches])
    assert [int(frame) for frame in frames] == list(range(8))
    parts = data.by_size()
    assert [(p.records, p.height, p.width) for p in parts] == [(3, 4, 6), (4, 6, 4), (1, 8, 10)]
    for part, records in zip(parts, groups, strict=True):
        dataset = part.dataset(5)
        assert dataset.element_spec["sharp"].shape == [5, part.height, part.width, 3]
        (batch,) = dataset
        for half in ("blurred", "sharp"):
            stored = np.stack([getattr(record, half) for record in records])
            np.testing.assert_array_equal(batch[half][: len(records)], stored)
    assert [part.records for part in EvaluationData(mixed[0], "test", 5).by_size()] == [3, 2]


def test_limit_within_the_first_size_leaves_images_of_one_size(mixed) -> None:
    data = EvaluationData(mixed[0], "test", limit=2)
    assert (data.records, data.height, data.width) == (2, 4, 6)
    assert data.dataset(2).element_spec["sharp"].shape == [2, 4, 6, 3]


def test_damaged_shard_of_several_sizes_is_named(mixed) -> None:
    data = EvaluationData(mixed[0], "test")
    shard = f"{mixed[0]}/{data.manifest.splits['test'].shards[2].file}"
    records = [record.numpy() for record in tf.data.TFRecordDataset(shard)]
    write_shard(shard, records[:3])
    with pytest.raises(DataError, match=shard), read_errors([mixed[0]], "test"):
        list(data.dataset(2))
