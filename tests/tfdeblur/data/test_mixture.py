"""Parts: data sets divided by file, so that hosts read files of their own alone."""

import collections
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.tfdeblur.data.test_pipeline import PLAIN, numbers, take
from tfdeblur.data import dataset as opening
from tfdeblur.data import pipeline
from tfdeblur.data.mixture import divide
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.data.shuffle import MIXTURE, Mixture, ShardOrder, key_of
from tfdeblur.errors import ConfigError

Write = Callable[..., str]
SHARDS = (5, 3, 7, 1, 4, 6, 3)  # 29 records
RECORDS = sum(SHARDS)
SMALL = {"shuffle_block": 8, "open_shards": 4}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 6))
def test_division(counts: list[int], parts: int) -> None:
    parts = min(parts, sum(counts))
    divided = divide(counts, parts)
    records = [
        [(piece.shard, piece.first + n) for piece in slices for n in range(piece.count)]
        for slices in divided
    ]
    every = [(shard, n) for shard, count in enumerate(counts) for n in range(count)]
    assert list(itertools.chain(*records)) == every
    sizes = {len(part) for part in records}
    assert max(sizes) - min(sizes) <= 1
    for piece in itertools.chain(*divided):
        assert piece.to_end == (piece.first + piece.count == counts[piece.shard])
        assert piece.whole == (piece.count == counts[piece.shard])


def part_orders(parts: int, seed: int) -> list[tuple[int, ShardOrder]]:
    """For each part its first record and its order, apart from the library's own division."""
    orders = []
    for part in range(parts):
        begin, end = (RECORDS * border // parts for border in (part, part + 1))
        starts = np.cumsum((0, *SHARDS))
        inside = np.clip(starts, begin, end)
        counts = tuple(int(count) for count in np.diff(inside) if count)
        open_shards, block = -(-4 // parts), -(-8 // parts)
        orders.append((begin, ShardOrder(counts, key_of(seed, 0, 0, part), open_shards, block)))
    return orders


@pytest.fixture(
    params=[
        "png",
        "cached boxed",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("raw", "boxed", "cached")),
    ]
)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if "boxed" in request.param:
        monkeypatch.setattr(pipeline, "BOXED_BYTES", 1)
    encoding = "png" if request.param == "png" else "raw"
    return {"write": {"encoding": encoding}, "read": {"cache": "cached" in request.param}}


@pytest.mark.parametrize("parts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_parts_take_turns(dataset: Write, variant: dict[str, Any], parts: int) -> None:
    path = dataset(SHARDS, **variant["write"])
    data = TrainingData(path, seed=3, parts=parts, **SMALL, **PLAIN, **variant["read"])
    orders = [begin + order.window(0, 60) for begin, order in part_orders(parts, 3)]
    expected = np.stack(orders, axis=1).ravel()[:90].tolist()
    assert numbers(data.dataset(4), 90) == expected
    for start in (30, 59):
        assert numbers(data.dataset(3, start), 30) == expected[start : start + 30]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", ["large", "remote"])
def test_buffers_do_not_change_what_is_read(
    dataset: Write, monkeypatch: pytest.MonkeyPatch, kind: str, parts: int
) -> None:
    """Large records and remote files are read through buffers of another size."""
    size = (112, 112) if kind == "large" else (4, 6)
    path = dataset((5, 4, 3), size=size)
    data = TrainingData(path, seed=3, parts=parts, **SMALL, **PLAIN)
    expected = 2 * list(range(12))
    if kind == "remote":
        monkeypatch.setattr(opening.OpenSplit, "remote", True)
    assert opening.open_split(path, "train").buffer_bytes == (0 if kind == "large" else 4 << 20)
    got = numbers(data.dataset(4), 24)
    assert sorted(got) == sorted(expected)
    assert numbers(data.dataset(4, 7), 17) == got[7:]


def test_one_part_is_the_order_without_parts(dataset: Write) -> None:
    path = dataset(SHARDS)
    one, none = TrainingData(path, parts=1), TrainingData(path)
    np.testing.assert_array_equal(
        take(one.dataset(4), 40)["sharp"], take(none.dataset(4), 40)["sharp"]
    )


@pytest.mark.parametrize(
    ("parts", "hosts", "cache"),
    [(4, 2, False), (2, 2, True)]
    + [pytest.param(4, 4, cache, marks=pytest.mark.slow) for cache in (False, True)],
)
def test_a_host_needs_its_own_files_alone(
    dataset: Write, parts: int, hosts: int, cache: bool
) -> None:
    shards = (8, 8, 8, 8)
    whole = TrainingData(dataset(shards), seed=1, parts=parts, **SMALL, **PLAIN)
    every = np.reshape(numbers(whole.dataset(8, 16), 64), (-1, 8))
    turns = np.arange(8) % parts
    for host in range(hosts):
        path = dataset(shards)
        data = TrainingData(path, seed=1, parts=parts, cache=cache, **SMALL, **PLAIN)
        assert data.divides_files(hosts)
        own = range(host * 4 // hosts, (host + 1) * 4 // hosts)
        for number, shard in enumerate(data.manifests[0].splits["train"].shards):
            if number not in own:
                tf.io.gfile.remove(f"{path}/{shard.file}")
        share = data.dataset(8 // hosts, 16, global_batch=8, hosts=hosts, host=host)
        mine = turns * hosts // parts == host
        assert numbers(share, 64 // hosts) == every[:, mine].ravel().tolist()


@pytest.mark.parametrize(
    ("parts", "hosts"),
    [(4, 2), *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in ((2, 3), (4, 4)))],
)
def test_global_batches_are_those_of_any_number_of_hosts(
    dataset: Write, parts: int, hosts: int
) -> None:
    """Three hosts, which do not divide the parts, read everything and drop what is not theirs."""
    path = dataset(SHARDS, size=(6, 6))
    data = TrainingData(path, seed=2, parts=parts, crop=(4, 4), **SMALL)
    assert data.divides_files(hosts) == (hosts != 3)
    whole = take(data.dataset(12, 30), 60)["sharp"].reshape(5, 12, -1)
    shares = []
    for host in range(hosts):
        share = data.dataset(12 // hosts, 30, global_batch=12, hosts=hosts, host=host)
        shares.append(take(share, 60 // hosts)["sharp"].reshape(5, 12 // hosts, -1))
    together = np.concatenate(shares, axis=1)
    for expected, got in zip(whole, together, strict=True):
        assert collections.Counter(map(bytes, expected)) == collections.Counter(map(bytes, got))


def test_every_image_once_an_epoch_of_its_part(dataset: Write) -> None:
    data = TrainingData(dataset(SHARDS), seed=1, parts=4, **SMALL, **PLAIN)
    epochs = 5
    seen = collections.Counter(numbers(data.dataset(1), epochs * RECORDS))
    assert set(seen) == set(range(RECORDS))
    assert sum(seen.values()) == epochs * RECORDS
    # Parts of seven records are ahead of the one of eight by a record each epoch.
    assert set(seen.values()) <= {epochs - 1, epochs, epochs + 1}
    even = TrainingData(dataset((8, 8)), seed=1, parts=4, **SMALL, **PLAIN)
    assert set(collections.Counter(numbers(even.dataset(1), 48)).values()) == {3}


def test_several_data_sets(dataset: Write) -> None:
    paths = [dataset(SHARDS), dataset([9, 8], first=1000)]
    data = TrainingData(paths, weights=(1, 2), seed=5, parts=2, **SMALL, **PLAIN)
    got = numbers(data.dataset(4), 120)
    for part in (0, 1):
        choices = Mixture((1.0, 2.0), key_of(5, MIXTURE, part)).choices(0, 60)
        assert [n >= 1000 for n in got[part::2]] == [choice == 1 for choice in choices]
        second = [n for n in got[part::2] if n >= 1000]
        half = 9 - (1 - part)  # 17 records: eight and nine
        assert set(second) == set(range(1000 + 8 * part, 1000 + 8 * part + half))
    assert numbers(data.dataset(4, 37), 60) == got[37:97]
    for host in (0, 1):
        share = data.dataset(2, 20, global_batch=4, hosts=2, host=host)
        assert numbers(share, 40) == got[20 + host : 100 : 2]


def test_what_does_not_fit(dataset: Write) -> None:
    path = dataset(SHARDS)
    with pytest.raises(ConfigError, match=r"data\.parts: .*29 records.*30 parts"):
        TrainingData(path, parts=30)
    with pytest.raises(ConfigError, match="parts must be at least 1"):
        TrainingData(path, parts=0)
    data = TrainingData(path, parts=4)
    with pytest.raises(ConfigError, match=r"data\.parts: 4 parts.*batch of 6 images.*divides it"):
        data.dataset(3, global_batch=6, hosts=2, host=0)


def test_surplus_and_missing_records_are_noticed(dataset: Write) -> None:
    """A border cuts the shards in half; what their ends say is still compared."""
    for count in (9, 11):
        path = dataset([10, 10, 10])
        data = TrainingData(path, parts=2)
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        records = [record.numpy() for record in tf.data.TFRecordDataset(shard)] * 2
        tf.io.gfile.remove(shard)
        with tf.io.TFRecordWriter(shard) as writer:
            for record in records[:count]:
                writer.write(record)
        with pytest.raises(opening.READ_ERRORS) as caught:
            take(data.dataset(2), 60)
        assert shard in str(opening.explain_read_error(caught.value, data.paths, data.split))
