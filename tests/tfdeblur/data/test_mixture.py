"""Parts: data sets divided by file, so that each host reads its own files only."""

import collections
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.numbered_data import PLAIN, indices, records_at, take
from tests.helpers.tiny_data import training_data
from tfdeblur.data import inputs, mixture, pipeline, schema
from tfdeblur.data.dataset import OpenSplit, open_split, read_errors
from tfdeblur.data.mixture import divide
from tfdeblur.data.shuffle import MIXTURE, Mixture, ShardOrder
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.ops.random import key_of

Write = Callable[..., str]
SHARDS = (5, 3, 7, 1, 4, 6, 3)  # 29 records
RECORDS = sum(SHARDS)
SMALL = {"shuffle_block": 8}


@pytest.fixture(autouse=True)
def few_open_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes readers read several shards, one after another."""
    monkeypatch.setattr(mixture, "OPEN_SHARDS", 4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 6))
def test_divide_yields_consecutive_parts_of_equal_size(counts: list[int], parts: int) -> None:
    parts = min(parts, sum(counts))
    divided = divide(counts, parts)
    records = [
        [(piece.shard, piece.first + n) for piece in ranges for n in range(piece.count)]
        for ranges in divided
    ]
    every = [(shard, n) for shard, count in enumerate(counts) for n in range(count)]
    assert list(itertools.chain(*records)) == every
    sizes = {len(part) for part in records}
    assert max(sizes) - min(sizes) <= 1
    for piece in itertools.chain(*divided):
        assert piece.to_end == (piece.first + piece.count == counts[piece.shard])
        assert piece.complete == (piece.count == counts[piece.shard])


def part_orders(parts: int, seed: int) -> list[tuple[int, ShardOrder]]:
    """Returns first record and order of each part, independent of `mixture.divide`."""
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
        "cached wrapped",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("raw", "wrapped", "cached")),
    ]
)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if "wrapped" in request.param:
        monkeypatch.setattr(pipeline, "MIN_WRAPPED_BYTES", 1)
    encoding = "png" if request.param == "png" else "raw"
    return {
        "write": {"encoding": encoding},
        "read": {"cache": "on" if "cached" in request.param else "off"},
    }


@pytest.mark.parametrize("parts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_parts_are_interleaved_round_robin(
    dataset: Write, variant: dict[str, Any], parts: int
) -> None:
    path = dataset(SHARDS, **variant["write"])
    data = training_data(path, seed=3, parts=parts, **SMALL, **PLAIN, **variant["read"])
    orders = [np.add(begin, records_at(order, 0, 60)) for begin, order in part_orders(parts, 3)]
    expected = np.stack(orders, axis=1).ravel()[:90].tolist()
    assert indices(data.dataset(4), 90) == expected
    for start in (30, 59):
        assert indices(data.dataset(3, start), 30) == expected[start : start + 30]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", ["large", "remote"])
def test_read_buffer_does_not_change_the_order(
    dataset: Write, monkeypatch: pytest.MonkeyPatch, kind: str, parts: int
) -> None:
    """Large records and remote files have other buffer sizes."""
    size = (112, 112) if kind == "large" else (4, 6)
    path = dataset((5, 4, 3), size=size)
    data = training_data(path, seed=3, parts=parts, **SMALL, **PLAIN)
    expected = 2 * list(range(12))
    if kind == "remote":
        monkeypatch.setattr(OpenSplit, "remote", True)
    assert open_split(path, "train").buffer_bytes == (0 if kind == "large" else 4 << 20)
    got = indices(data.dataset(4), 24)
    assert sorted(got) == sorted(expected)
    assert indices(data.dataset(4, 7), 17) == got[7:]


def test_one_part_is_the_default(dataset: Write) -> None:
    path = dataset(SHARDS)
    one, default = training_data(path, parts=1), training_data(path)
    np.testing.assert_array_equal(
        take(one.dataset(4), 40)["sharp"], take(default.dataset(4), 40)["sharp"]
    )


@pytest.mark.parametrize(
    ("parts", "hosts", "cache"),
    [(4, 2, "off"), (2, 2, "on")]
    + [pytest.param(4, 4, cache, marks=pytest.mark.slow) for cache in ("off", "on")],
)
def test_host_reads_its_own_files_only(dataset: Write, parts: int, hosts: int, cache: str) -> None:
    shards = (8, 8, 8, 8)
    reference = training_data(dataset(shards), seed=1, parts=parts, **SMALL, **PLAIN)
    every = np.reshape(indices(reference.dataset(8, 16), 64), (-1, 8))
    part_of = np.arange(8) % parts
    for host in range(hosts):
        path = dataset(shards)
        data = training_data(path, seed=1, parts=parts, cache=cache, **SMALL, **PLAIN)
        assert data.divides_files(hosts)
        own = range(host * 4 // hosts, (host + 1) * 4 // hosts)
        for number, shard in enumerate(data.manifests[0].splits["train"].shards):
            if number not in own:
                tf.io.gfile.remove(f"{path}/{shard.file}")
        share = data.dataset(8 // hosts, 16, global_batch=8, hosts=hosts, host=host)
        mine = part_of * hosts // parts == host
        assert indices(share, 64 // hosts) == every[:, mine].ravel().tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "hosts"),
    [(4, 2), (2, 3), (4, 4)],
)
def test_global_batches_do_not_depend_on_number_of_hosts(
    dataset: Write, parts: int, hosts: int
) -> None:
    """Three hosts do not divide the parts: each reads all records and drops those of the others."""
    path = dataset(SHARDS, size=(6, 6))
    data = training_data(path, seed=2, parts=parts, crop=(4, 4), **SMALL)
    assert data.divides_files(hosts) == (hosts != 3)
    reference = take(data.dataset(12, 30), 60)["sharp"].reshape(5, 12, -1)
    shares = []
    for host in range(hosts):
        share = data.dataset(12 // hosts, 30, global_batch=12, hosts=hosts, host=host)
        shares.append(take(share, 60 // hosts)["sharp"].reshape(5, 12 // hosts, -1))
    together = np.concatenate(shares, axis=1)
    for expected, got in zip(reference, together, strict=True):
        assert collections.Counter(map(bytes, expected)) == collections.Counter(map(bytes, got))


@pytest.mark.slow
def test_each_part_has_each_image_once_per_epoch(dataset: Write) -> None:
    data = training_data(dataset(SHARDS), seed=1, parts=4, **SMALL, **PLAIN)
    epochs = 5
    seen = collections.Counter(indices(data.dataset(1), epochs * RECORDS))
    assert set(seen) == set(range(RECORDS))
    assert sum(seen.values()) == epochs * RECORDS
    # Parts of seven records gain one record per epoch on the part of eight.
    assert set(seen.values()) <= {epochs - 1, epochs, epochs + 1}
    even = training_data(dataset((8, 8)), seed=1, parts=4, **SMALL, **PLAIN)
    assert set(collections.Counter(indices(even.dataset(1), 48)).values()) == {3}


@pytest.mark.slow
def test_parts_of_several_data_sets_are_mixed_separately(dataset: Write) -> None:
    paths = [dataset(SHARDS), dataset([9, 8], first=1000)]
    data = training_data(paths, weights=(1, 2), seed=5, parts=2, **SMALL, **PLAIN)
    got = indices(data.dataset(4), 120)
    for part in (0, 1):
        choices = Mixture((1.0, 2.0), key_of(5, MIXTURE, part)).choices(0, 60)
        assert [n >= 1000 for n in got[part::2]] == [choice == 1 for choice in choices]
        second = [n for n in got[part::2] if n >= 1000]
        size = 8 + part  # of 17 records
        assert set(second) == set(range(1000 + 8 * part, 1000 + 8 * part + size))
    assert indices(data.dataset(4, 37), 60) == got[37:97]
    for host in (0, 1):
        share = data.dataset(2, 20, global_batch=4, hosts=2, host=host)
        assert indices(share, 40) == got[20 + host : 100 : 2]


def test_invalid_parts_raise(dataset: Write) -> None:
    path = dataset(SHARDS)
    with pytest.raises(ConfigError, match=r"data\.parts.*29.*30"):
        training_data(path, parts=30)
    with pytest.raises(ConfigError, match="parts"):
        training_data(path, parts=0)
    data = training_data(path, parts=4)
    with pytest.raises(ConfigError, match=r"data\.parts.*4.*6"):
        data.dataset(3, global_batch=6, hosts=2, host=0)


def test_surplus_or_missing_records_raise_naming_the_shard(dataset: Write) -> None:
    """Holds for shards that are divided between two parts as well."""
    for count in (9, 11):
        path = dataset([10, 10, 10])
        data = training_data(path, parts=2)
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        records = [record.numpy() for record in tf.data.TFRecordDataset(shard)] * 2
        schema.write_shard(shard, records[:count])
        with pytest.raises(DataError, match=shard), read_errors(data.paths, data.split):
            take(data.dataset(2), 60)


@pytest.mark.parametrize(
    ("cache", "memory", "cached"),
    [("auto", 1 << 30, True), ("auto", 4096, False), ("on", 1, True)],
)
def test_records_are_cached_if_they_fit_into_memory(
    dataset: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cache: str,
    memory: int,
    cached: bool,
) -> None:
    monkeypatch.setattr(mixture, "host_memory", lambda: memory)
    data = training_data(dataset((8, 8)), cache=cache, **SMALL, **PLAIN)
    assert (data.cached_bytes > 0) == cached
    inputs.advise_on_reading(data, host=0, hosts=1)
    assert ("16 records" in capsys.readouterr().out) == cached


@pytest.mark.parametrize(("parts", "records"), [(1, 16), (2, 8)])
def test_each_host_tells_what_it_keeps_in_memory(
    dataset: Write, capsys: pytest.CaptureFixture[str], parts: int, records: int
) -> None:
    data = training_data(dataset((8, 8)), cache="on", parts=parts, **SMALL, **PLAIN)
    for host in range(2):
        inputs.advise_on_reading(data, host, hosts=2)
        output = capsys.readouterr().out
        assert f"{records} records" in output and f"host {host}" in output
