"""What is read and parsed, and in which batches, follows from the position alone."""

import collections
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.tfdeblur.data.conftest import make_record
from tfdeblur.data import pipeline, schema
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.data.shuffle import ShardOrder, key_of

Write = Callable[..., str]
SHARDS = (23, 17, 31, 9, 28, 20)
RECORDS = sum(SHARDS)
GLOBAL_BATCH = 8


def batches(data: TrainingData, replicas: int, count: int, start: int = 0) -> np.ndarray:
    """The first global batches as replicas of one host get them, one element for each replica."""
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
def test_global_batches_are_those_of_any_replicas_and_readers(
    dataset: Write, encoding: str, start: int
) -> None:
    path = dataset(SHARDS, size=(6, 6), encoding=encoding)
    arguments = {"seed": 4, "crop": (4, 4), "quarter_turns": True, "shuffle_block": 32}
    expected = batches(TrainingData(path, **arguments), 1, 24, start)
    for replicas, how in (
        (1, {"readers": 8, "threads": 4}),
        (2, {"readers": 3}),
        (8, {"readers": 1, "threads": 1}),
        (8, {"cache": True}),
    ):
        got = batches(TrainingData(path, **arguments, **how), replicas, 24, start)
        np.testing.assert_array_equal(got, expected, err_msg=f"{replicas} replicas, {how}")


class Parses:
    """Counts which records are parsed, by their frames."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[int] = []
        parse = schema.parse_example

        def counted(record: tf.Tensor, *arguments: object) -> dict[str, tf.Tensor]:
            pair = parse(record, *arguments)
            feature = {"frame": tf.io.FixedLenFeature([], tf.string)}
            frame = tf.io.parse_single_example(record, feature)["frame"]
            with tf.control_dependencies([tf.numpy_function(self._note, [frame], tf.int64)]):
                return {name: tf.identity(image) for name, image in pair.items()}

        monkeypatch.setattr(schema, "parse_example", counted)

    def _note(self, frame: bytes) -> np.int64:
        self.frames.append(int(frame))
        return np.int64(0)


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parses]:
    yield Parses(monkeypatch)


def window(start: int, count: int) -> list[int]:
    order = ShardOrder(SHARDS, key_of(1, 0, 0), open_shards=16, block=32)
    return [int(number) for number in order.window(start, count)]


def numbers(images: np.ndarray) -> list[int]:
    """The records that unturned images come from; `sharp` is the negative."""
    return [int(255 - i[0, 0, 0]) * 256 + int(255 - i[0, 0, 1]) for i in images]


def test_what_lies_before_the_start_is_not_parsed(dataset: Write, parses: Parses) -> None:
    data = TrainingData(
        dataset(SHARDS, encoding="png"),
        seed=1,
        shuffle_block=32,
        horizontal_flips=False,
        vertical_flips=False,
    )
    start = RECORDS - 12
    (batch,) = batches(data, 1, 1, start)
    assert numbers(batch) == window(start, 8)
    # It parses ahead, but each record once, and none of those before the start.
    ahead = window(start, len(parses.frames))
    assert sorted(parses.frames) == sorted(ahead)
    before = set(window(0, start)) - set(ahead)
    assert len(before) > RECORDS // 4
    assert not before & set(parses.frames)


@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_host_parses_its_own_share_alone(dataset: Write, parses: Parses, hosts: int) -> None:
    data = TrainingData(
        dataset(SHARDS, encoding="png"),
        seed=1,
        shuffle_block=32,
        horizontal_flips=False,
        vertical_flips=False,
    )
    share = GLOBAL_BATCH // hosts
    count = RECORDS // GLOBAL_BATCH  # whole global batches of one epoch
    for host in range(hosts):
        parses.frames.clear()
        elements = data.dataset(share, 0, global_batch=GLOBAL_BATCH, hosts=hosts, host=host)
        got = [numbers(element["sharp"].numpy()) for element in elements.take(count)]
        every = np.reshape(window(0, 20 * RECORDS), (-1, GLOBAL_BATCH))
        own = every[:, host * share : (host + 1) * share]
        np.testing.assert_array_equal(got, own[:count])
        # In the order of its own share and ahead of it, but never what another host uses.
        parsed = collections.Counter(parses.frames)
        assert parsed == collections.Counter(own.ravel()[: len(parses.frames)].tolist())


@pytest.mark.parametrize("hosts", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_all_hosts_together_see_each_image_once_an_epoch(dataset: Write, hosts: int) -> None:
    shards = (16, 24, 8, 16)
    data = TrainingData(
        dataset(shards), seed=1, horizontal_flips=False, vertical_flips=False, shuffle_block=16
    )
    share, steps = GLOBAL_BATCH // hosts, sum(shards) // GLOBAL_BATCH
    for epoch in range(2):
        seen: list[int] = []
        for host in range(hosts):
            start = epoch * sum(shards)
            elements = data.dataset(share, start, global_batch=GLOBAL_BATCH, hosts=hosts, host=host)
            for element in elements.take(steps):
                seen += numbers(element["sharp"].numpy())
        assert sorted(seen) == list(range(sum(shards)))


@pytest.mark.parametrize(
    "position", [100, *(pytest.param(n, marks=pytest.mark.slow) for n in (40, 64))]
)
def test_going_on_with_another_number_of_hosts(dataset: Write, position: int) -> None:
    data = TrainingData(dataset(SHARDS, size=(6, 6)), seed=1, quarter_turns=True, shuffle_block=32)
    expected = batches(data, 1, 5, position)
    for hosts in (1, 2, 4):
        share = GLOBAL_BATCH // hosts
        parts = []
        for host in range(hosts):
            elements = data.dataset(
                share, position, global_batch=GLOBAL_BATCH, hosts=hosts, host=host
            )
            parts.append(np.stack([element["sharp"].numpy() for element in elements.take(5)]))
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_records_are_numbered_as_the_tests_here_think() -> None:
    assert numbers(make_record(300, 4, 6).sharp[None]) == [300]
    assert pipeline.default_shuffle_block(4, 6) == 4096
