"""Batches, and which records are parsed, are determined by the position alone."""

import collections
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.numbered_data import PLAIN, make_record, records_at
from tests.helpers.tiny_data import training_data
from tfdeblur.data import schema
from tfdeblur.data.mixture import default_shuffle_block
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.data.shuffle import ShardOrder
from tfdeblur.ops.random import key_of

Write = Callable[..., str]
SHARDS = (23, 17, 31, 9, 28, 20)
RECORDS = sum(SHARDS)
GLOBAL_BATCH = 8


def batches(data: TrainingData, replicas: int, count: int, start: int = 0) -> np.ndarray:
    """Returns the first global batches of one host, joined from one element per replica."""
    elements = data.dataset(GLOBAL_BATCH // replicas, start, global_batch=GLOBAL_BATCH)
    parts = [element["sharp"].numpy() for element in elements.take(count * replicas)]
    return np.concatenate(parts).reshape(count, GLOBAL_BATCH, *parts[0].shape[1:])


@pytest.mark.parametrize(
    ("encoding", "start"),
    [
        ("raw", 0),
        ("png", RECORDS - 5),
        pytest.param("raw", 3 * RECORDS + 77, marks=pytest.mark.slow),
    ],
)
def test_global_batches_do_not_depend_on_replicas_and_caching(
    dataset: Write, encoding: str, start: int
) -> None:
    path = dataset(SHARDS, size=(6, 6), encoding=encoding)
    arguments = {"seed": 4, "crop": (4, 4), "quarter_turns": True, "shuffle_block": 32}
    reference = batches(training_data(path, **arguments), 1, 24, start)
    for replicas, how in (
        (2, {}),
        (8, {}),
        (8, {"cache": "on"}),
    ):
        got = batches(training_data(path, **arguments, **how), replicas, 24, start)
        np.testing.assert_array_equal(got, reference, err_msg=f"{replicas} replicas, {how}")


class Parsed:
    """Lists the records that are parsed, by their frames."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[int] = []
        parse = schema.parse_example

        def counted(record: tf.Tensor, *arguments: Any, **options: Any) -> dict[str, tf.Tensor]:
            pair = parse(record, *arguments, **options)
            feature = {"frame": tf.io.FixedLenFeature([], tf.string)}
            frame = tf.io.parse_single_example(record, feature)["frame"]
            with tf.control_dependencies([tf.numpy_function(self._note, [frame], tf.int64)]):
                return {name: tf.identity(image) for name, image in pair.items()}

        monkeypatch.setattr(schema, "parse_example", counted)

    def _note(self, frame: bytes) -> np.int64:
        self.frames.append(int(frame))
        return np.int64(0)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parsed]:
    yield Parsed(monkeypatch)


def expected(start: int, count: int) -> list[int]:
    """Returns the records at `count` positions from `start` on, for one block of 32."""
    order = ShardOrder(SHARDS, key_of(1, 0, 0), open_shards=16, block=32)
    return records_at(order, start, count)


def indices(images: np.ndarray) -> list[int]:
    """Returns the records of sharp images without augmentation, which are negatives."""
    return [int(255 - i[0, 0, 0]) * 256 + int(255 - i[0, 0, 1]) for i in images]


def test_records_before_the_start_are_not_parsed(dataset: Write, parsed: Parsed) -> None:
    data = training_data(
        dataset(SHARDS, encoding="png"),
        seed=1,
        shuffle_block=32,
        **PLAIN,
    )
    start = RECORDS - 12
    (batch,) = batches(data, 1, 1, start)
    assert indices(batch) == expected(start, 8)
    # Prefetching parses further records, each once and none before the start.
    ahead = expected(start, len(parsed.frames))
    assert sorted(parsed.frames) == sorted(ahead)
    before = set(expected(0, start)) - set(ahead)
    assert len(before) > RECORDS // 4
    assert not before & set(parsed.frames)


@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_host_parses_its_own_share_only(dataset: Write, parsed: Parsed, hosts: int) -> None:
    data = training_data(
        dataset(SHARDS, encoding="png"),
        seed=1,
        shuffle_block=32,
        **PLAIN,
    )
    share = GLOBAL_BATCH // hosts
    count = RECORDS // GLOBAL_BATCH  # whole global batches of one epoch
    for host in range(hosts):
        parsed.frames.clear()
        elements = data.dataset(share, 0, global_batch=GLOBAL_BATCH, hosts=hosts, host=host)
        got = [indices(element["sharp"].numpy()) for element in elements.take(count)]
        every = np.reshape(expected(0, 20 * RECORDS), (-1, GLOBAL_BATCH))
        own = every[:, host * share : (host + 1) * share]
        np.testing.assert_array_equal(got, own[:count])
        # Prefetching parses further records of its own share, but none of another host.
        frames = collections.Counter(parsed.frames)
        assert frames == collections.Counter(own.ravel()[: len(parsed.frames)].tolist())


@pytest.mark.parametrize("hosts", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_hosts_together_see_each_image_once_per_epoch(dataset: Write, hosts: int) -> None:
    shards = (16, 24, 8, 16)
    data = training_data(dataset(shards), seed=1, shuffle_block=16, **PLAIN)
    share, steps = GLOBAL_BATCH // hosts, sum(shards) // GLOBAL_BATCH
    for epoch in range(2):
        seen: list[int] = []
        for host in range(hosts):
            start = epoch * sum(shards)
            elements = data.dataset(share, start, global_batch=GLOBAL_BATCH, hosts=hosts, host=host)
            for element in elements.take(steps):
                seen += indices(element["sharp"].numpy())
        assert sorted(seen) == list(range(sum(shards)))


@pytest.mark.slow
@pytest.mark.parametrize("position", [40, 64, 100])
def test_resuming_with_another_number_of_hosts_keeps_global_batches(
    dataset: Write, position: int
) -> None:
    data = training_data(dataset(SHARDS, size=(6, 6)), seed=1, quarter_turns=True, shuffle_block=32)
    reference = batches(data, 1, 5, position)
    for hosts in (1, 2, 4):
        share = GLOBAL_BATCH // hosts
        parts = []
        for host in range(hosts):
            elements = data.dataset(
                share, position, global_batch=GLOBAL_BATCH, hosts=hosts, host=host
            )
            parts.append(np.stack([element["sharp"].numpy() for element in elements.take(5)]))
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), reference)


def test_helpers_match_the_records_and_default_block() -> None:
    assert indices(make_record(300, 4, 6).sharp[None]) == [300]
    assert default_shuffle_block(4, 6) == 4096
