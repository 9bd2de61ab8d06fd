from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data.dataset import READ_ERRORS
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import ConfigError, DataError

Write = Callable[..., str]


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_gives_each_pair_once_in_file_order(dataset: Write, encoding: str) -> None:
    data = EvaluationData(dataset([3, 0, 4], splits=("test",), encoding=encoding), "test")
    assert (data.records, data.height, data.width) == (7, 4, 6)
    batches = list(data.dataset(3))
    assert len(batches) == data.batches(3) == 3
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert valid.tolist() == [True] * 7 + [False] * 2
    frames = np.concatenate([batch["frame"] for batch in batches])
    assert [int(frame) for frame in frames[:7]] == list(range(7))
    scenes = np.concatenate([batch["scene"] for batch in batches])
    assert scenes[:7].tolist() == [b"scene0"] * 5 + [b"scene1"] * 2
    blurred = np.concatenate([batch["blurred"] for batch in batches])
    sharp = np.concatenate([batch["sharp"] for batch in batches])
    np.testing.assert_array_equal(blurred[:7], 255 - sharp[:7])
    assert [256 * int(i[0, 0, 0]) + int(i[0, 0, 1]) for i in blurred[:7]] == list(range(7))


def test_shapes_are_static(dataset: Write) -> None:
    spec = EvaluationData(dataset([3]), "train").dataset(5).element_spec
    assert spec == {
        "blurred": tf.TensorSpec([5, 4, 6, 3], tf.uint8),
        "sharp": tf.TensorSpec([5, 4, 6, 3], tf.uint8),
        "scene": tf.TensorSpec([5], tf.string),
        "frame": tf.TensorSpec([5], tf.string),
        "valid": tf.TensorSpec([5], tf.bool),
    }


@pytest.mark.parametrize(("limit", "records"), [(1, 1), (4, 4), (100, 7), (None, 7)])
def test_can_be_limited(dataset: Write, limit: int | None, records: int) -> None:
    data = EvaluationData(dataset([3, 4]), "train", limit=limit)
    assert data.records == records
    valid = [int(batch["valid"].numpy().sum()) for batch in data.dataset(2)]
    assert sum(valid) == records


def test_every_replica_gets_as_many_batches(dataset: Write) -> None:
    data = EvaluationData(dataset([5]), "train")
    batches = list(data.dataset(2, multiple_of=4))
    assert len(batches) == data.batches(2, multiple_of=4) == 4
    assert [int(batch["valid"].numpy().sum()) for batch in batches] == [2, 2, 1, 0]
    assert not batches[-1]["sharp"].numpy().any()


def test_bad_arguments(dataset: Write) -> None:
    path = dataset([5])
    with pytest.raises(ConfigError, match="limit"):
        EvaluationData(path, "train", limit=0)
    with pytest.raises(ConfigError, match="batch_size"):
        EvaluationData(path, "train").dataset(0)
    with pytest.raises(DataError, match="no split 'test'"):
        EvaluationData(path, "test")


def test_a_split_that_lost_records_is_not_passed_off_as_whole(dataset: Write) -> None:
    path = dataset([5])
    data = EvaluationData(path, "train")
    shard = f"{path}/{data.manifest.splits['train'].shards[0].file}"
    records = [record.numpy() for record in tf.data.TFRecordDataset(shard)]
    tf.io.gfile.remove(shard)  # `ram://` would append to a file that exists
    with tf.io.TFRecordWriter(shard) as writer:
        for record in records[:3]:
            writer.write(record)
    with pytest.raises(READ_ERRORS):
        list(data.dataset(2))
