import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.numbered_data import PLAIN, index_of, indices, records_at, take
from tests.helpers.tiny_data import training_data
from tfdeblur.config import DataConfig
from tfdeblur.data import mixture, pipeline, record_stream, schema
from tfdeblur.data.dataset import open_split, read_errors
from tfdeblur.data.mixture import RecordMixture, default_shuffle_block
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.data.shuffle import Mixture, ShardOrder
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.ops.random import key_of
from tfdeblur.training.engines.tensorflow import runtime

SHARDS = (5, 3, 7, 1, 4, 6, 2)
SMALL = {"shuffle_block": 8}
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def few_open_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes readers read several shards, one after another."""
    monkeypatch.setattr(mixture, "OPEN_SHARDS", 3)


def expected_order(seed: int, shards: Sequence[int] = SHARDS, data_set: int = 0) -> ShardOrder:
    """Returns the order for `SMALL`, independent of the pipeline."""
    return ShardOrder(tuple(shards), key_of(seed, 0, data_set), open_shards=3, block=8)


@pytest.fixture(params=["raw", "png", "wrapped", "cached", "cached wrapped"])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns arguments for `write_dataset` and `training_data` that cover all code paths."""
    if "wrapped" in request.param:
        monkeypatch.setattr(pipeline, "MIN_WRAPPED_BYTES", 1)
    encoding = "png" if request.param == "png" else "raw"
    return {
        "write": {"encoding": encoding},
        "read": {"cache": "on" if "cached" in request.param else "off"},
    }


class TestOrder:
    def test_order_equals_shard_order(self, dataset: Write, variant: dict[str, Any]) -> None:
        path = dataset(SHARDS, **variant["write"])
        data = training_data(path, seed=3, **SMALL, **PLAIN, **variant["read"])
        expected = records_at(expected_order(3), 0, 70)
        assert indices(data.dataset(4), 70) == expected
        assert sorted(expected[:28]) == sorted(expected[28:56]) == list(range(28))

    # In the first block, at its end, within a later block, at the end of an epoch, and far beyond.
    @pytest.mark.parametrize(
        "start",
        [3, 28, 28 * 40 + 13, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 19))],
    )
    def test_order_from_any_start_equals_shard_order(
        self, dataset: Write, variant: dict[str, Any], start: int
    ) -> None:
        path = dataset(SHARDS, **variant["write"])
        data = training_data(path, seed=3, **SMALL, **PLAIN, **variant["read"])
        expected = records_at(expected_order(3), start, 40)
        assert indices(data.dataset(4, start), 40) == expected

    @pytest.mark.slow
    def test_samples_from_any_start_equal_those_from_zero(self, dataset: Write) -> None:
        data = training_data(dataset(SHARDS), **SMALL)
        reference = take(data.dataset(5), 45)
        for start in (*range(0, 20, 3), *range(25, 31)):
            part = take(data.dataset(2, start), 10)
            for half in part:
                np.testing.assert_array_equal(part[half], reference[half][start : start + 10])

    @pytest.mark.parametrize("cache", ["off", "on"])
    def test_samples_do_not_depend_on_how_they_are_read(self, dataset: Write, cache: str) -> None:
        path = dataset(SHARDS, size=(8, 8))
        arguments = {**SMALL, "crop": (5, 5), "quarter_turns": True, "seed": 9}
        changed = {**arguments, "cache": cache}
        expected = take(training_data(path, **arguments).dataset(4), 60)
        for batch_size in (1, 7):
            got = take(training_data(path, **changed).dataset(batch_size), 60)
            for half in got:
                np.testing.assert_array_equal(got[half], expected[half])

    def test_order_depends_on_seed(self, dataset: Write) -> None:
        path = dataset(SHARDS)
        sequences = {
            tuple(indices(training_data(path, seed=seed, **PLAIN).dataset(4), 28))
            for seed in range(3)
        }
        assert len(sequences) == 3

    def test_shard_before_the_start_is_not_read(
        self, dataset: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mixture, "OPEN_SHARDS", 1)
        path = dataset(SHARDS)
        data = training_data(path, shuffle_block=4, seed=1, **PLAIN)
        order = ShardOrder(SHARDS, key_of(1, 0, 0), open_shards=1, block=4)
        first = order.reader_shards(0)[0, 0]
        tf.io.gfile.remove(f"{path}/{data.manifests[0].splits['train'].shards[first].file}")
        # The first block without a record of that shard, which was removed.
        start = -(-SHARDS[first] // 4) * 4
        count = sum(SHARDS) - start
        assert indices(data.dataset(1, start), count) == records_at(order, start, count)
        with pytest.raises(tf.errors.NotFoundError):
            indices(data.dataset(1, start - 1), count)

    def test_batch_larger_than_data_set_spans_epochs(self, dataset: Write) -> None:
        data = training_data(dataset([1, 1]), **PLAIN)
        got = indices(data.dataset(5), 20)
        assert all(sorted(got[i : i + 2]) == [0, 1] for i in range(0, 20, 2))


class TestSamples:
    @pytest.mark.parametrize("crop", [None, (6, 4)])
    def test_samples_are_uint8_with_static_shape(
        self, dataset: Write, variant: dict[str, Any], crop: tuple[int, int] | None
    ) -> None:
        path = dataset([4, 4], size=(8, 10), **variant["write"])
        data = training_data(path, crop=crop, **variant["read"])
        height, width = crop or (8, 10)
        spec = tf.TensorSpec([3, height, width, 3], tf.uint8)
        assert data.dataset(3).element_spec == {"blurred": spec, "sharp": spec}
        assert (data.height, data.width, data.records) == (height, width, 8)
        batch = next(iter(data.dataset(3)))
        np.testing.assert_array_equal(batch["blurred"], 255 - batch["sharp"].numpy())

    def test_augmentation_differs_between_epochs(self, dataset: Write) -> None:
        data = training_data(dataset([1], size=(8, 8)), crop=(6, 6))
        seen = {sample.tobytes() for sample in take(data.dataset(8), 64)["sharp"]}
        assert len(seen) > 20

    def test_small_and_large_records_have_the_same_samples(
        self, dataset: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = dataset(SHARDS, size=(6, 6))
        batched = training_data(path, quarter_turns=True)
        monkeypatch.setattr(pipeline, "MIN_WRAPPED_BYTES", 1)
        one_by_one = training_data(path, quarter_turns=True)
        expected, got = (take(data.dataset(4), 60) for data in (batched, one_by_one))
        for half in got:
            np.testing.assert_array_equal(got[half], expected[half])


class TestMixing:
    @pytest.mark.slow
    def test_mixture_follows_the_drawn_choices(self, dataset: Write) -> None:
        paths = [dataset(SHARDS, size=(4, 4)), dataset([9, 8], size=(4, 4), first=1000)]
        data = training_data(paths, weights=(1, 2), seed=5, **SMALL, **PLAIN)
        assert data.records == 28 + 17
        choices = Mixture((1.0, 2.0), key_of(5, 2)).choices(0, 90)
        streams = [
            iter(records_at(expected_order(5), 0, 90)),
            (1000 + record for record in records_at(expected_order(5, (9, 8), 1), 0, 90)),
        ]
        expected = [int(next(streams[choice])) for choice in choices]
        assert indices(data.dataset(4), 90) == expected
        assert 45 < sum(n >= 1000 for n in expected) < 75
        for start in (1, 33, 50):
            assert indices(data.dataset(3, start), 30) == expected[start : start + 30]

    @pytest.mark.parametrize("cache", ["off", "on"])
    def test_data_sets_of_different_format_can_be_mixed(self, dataset: Write, cache: str) -> None:
        paths = [
            dataset([6], size=(8, 8)),
            dataset([6], size=(10, 12), encoding="png", first=1000),
        ]
        data = training_data(paths, crop=(8, 8), cache=cache, **PLAIN)
        batch = take(data.dataset(4), 24)
        np.testing.assert_array_equal(batch["blurred"], 255 - batch["sharp"])
        assert batch["sharp"].shape == (24, 8, 8, 3)
        first = {n for n in (index_of(image) for image in batch["blurred"]) if n < 6}
        assert first == set(range(6))

    def test_default_weights_are_numbers_of_records(self, dataset: Write) -> None:
        paths = [dataset([30]), dataset([10], first=1000)]
        got = indices(training_data(paths, **PLAIN).dataset(10), 1000)
        assert 200 < sum(n >= 1000 for n in got) < 300

    def test_data_sets_of_different_size_without_crop_raise(self, dataset: Write) -> None:
        paths = [dataset([2], size=(8, 8)), dataset([2], size=(8, 9))]
        with pytest.raises(DataError, match=r"data\.crop.*8x8.*9x8"):
            training_data(paths)
        assert training_data(paths, crop=(8, 8)).width == 8

    @pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("nan"))])
    def test_invalid_weights_raise(self, dataset: Write, weights: tuple[float, ...]) -> None:
        path = dataset([2])
        with pytest.raises(ConfigError, match=r"data\.weights"):
            training_data([path, path], weights=weights)


class TestHosts:
    @pytest.mark.slow
    def test_hosts_together_equal_one_host(self, dataset: Write, variant: dict[str, Any]) -> None:
        path = dataset(SHARDS, size=(6, 6), **variant["write"])
        self.check(training_data(path, crop=(4, 4), **SMALL, **variant["read"]), 2, 2)

    @pytest.mark.parametrize(
        ("hosts", "batch_size"), [(2, 4), pytest.param(4, 1, marks=pytest.mark.slow)]
    )
    def test_any_number_of_hosts_equals_one_host(
        self, dataset: Write, hosts: int, batch_size: int
    ) -> None:
        self.check(training_data(dataset(SHARDS, size=(4, 4)), **SMALL), hosts, batch_size)

    @staticmethod
    def check(data: TrainingData, hosts: int, batch_size: int) -> None:
        reference = take(data.dataset(8, 5), 40)["sharp"].reshape(5, hosts, -1, 4, 4, 3)
        for host in range(hosts):
            share = data.dataset(batch_size, 5, global_batch=8, hosts=hosts, host=host)
            got = take(share, 40 // hosts)["sharp"].reshape(5, -1, 4, 4, 3)
            np.testing.assert_array_equal(got, reference[:, host])

    @pytest.mark.slow
    def test_hosts_with_several_data_sets_equal_one_host(self, dataset: Write) -> None:
        data = training_data([dataset(SHARDS), dataset([9], first=1000)], **PLAIN)
        reference = indices(data.dataset(4), 40)
        shares = [
            indices(data.dataset(2, global_batch=4, hosts=2, host=host), 20) for host in (0, 1)
        ]
        joined = itertools.chain.from_iterable(
            (*shares[0][i : i + 2], *shares[1][i : i + 2]) for i in range(0, 20, 2)
        )
        assert list(joined) == reference

    @pytest.mark.parametrize(
        "bad",
        [
            {"batch_size": 0},
            {"batch_size": 2, "start_image": -1},
            {"batch_size": 2, "hosts": 2},
            {"batch_size": 3, "hosts": 2, "global_batch": 8},
            {"batch_size": 2, "hosts": 2, "global_batch": 8, "host": 2},
        ],
        ids=str,
    )
    def test_invalid_batch_or_host_raises(self, dataset: Write, bad: dict[str, int]) -> None:
        data = training_data(dataset([4]))
        with pytest.raises(ConfigError):
            data.dataset(**bad)

    def test_replicas_receive_consecutive_batches(self, dataset: Write) -> None:
        data = training_data(dataset(SHARDS, size=(6, 6)), quarter_turns=True)
        reference = take(data.dataset(8), 32)["sharp"]
        strategy = runtime.make_strategy("mirrored")
        batches = iter(
            strategy.distribute_datasets_from_function(
                lambda context: data.dataset(
                    4,
                    global_batch=8,
                    host=context.input_pipeline_id,
                    hosts=context.num_input_pipelines,
                )
            )
        )
        for step in range(4):
            parts = strategy.experimental_local_results(next(batches)["sharp"])
            got = np.concatenate([part.numpy() for part in parts])
            np.testing.assert_array_equal(got, reference[8 * step : 8 * step + 8])


class TestErrors:
    def test_crop_larger_than_tile_raises(self, dataset: Write) -> None:
        path = dataset([2], size=(8, 12))
        with pytest.raises(DataError, match=rf"data\.crop.*{path}.*12x8.*12x9"):
            training_data(path, crop=(9, 12))

    def test_quarter_turns_of_oblong_samples_raise(self, dataset: Write) -> None:
        path = dataset([2], size=(8, 12))
        with pytest.raises(ConfigError, match=r"quarter_turns.*12x8"):
            training_data(path, quarter_turns=True)
        assert training_data(path, quarter_turns=True, crop=(8, 8)).width == 8

    @pytest.mark.parametrize("bad", [{"shuffle_block": 0}, {"parts": 0}, {"crop": (0, 4)}], ids=str)
    def test_number_below_one_raises(self, dataset: Write, bad: dict[str, Any]) -> None:
        (name,) = bad
        with pytest.raises(ConfigError, match=name):
            training_data(dataset([2]), **bad)

    def test_no_paths_raise(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.paths"):
            training_data(())

    def test_unknown_split_raises(self, dataset: Write) -> None:
        with pytest.raises(DataError, match="'train'"):
            training_data(dataset([2]), split="trian")

    def test_shard_truncated_after_opening_raises_naming_it(self, dataset: Write) -> None:
        path = dataset([4, 4])
        data = training_data(path)
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        first = next(iter(tf.data.TFRecordDataset(shard))).numpy()
        schema.write_shard(shard, [first])
        with pytest.raises(DataError, match=shard), read_errors(data.paths, data.split):
            take(data.dataset(2), 16)

    def test_damaged_record_in_cached_data_raises_naming_it(self, dataset: Write) -> None:
        path = dataset([4, 4])
        data = training_data(path, cache="on")
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        with tf.io.gfile.GFile(shard, "rb") as file:
            content = bytearray(file.read())
        tf.io.gfile.remove(shard)  # `ram://` would append to a file that exists
        content[-20] ^= 255
        with tf.io.gfile.GFile(shard, "wb") as file:
            file.write(bytes(content))
        with pytest.raises(DataError, match=rf"{shard}.*record 3"):
            data.dataset(2)


@pytest.mark.parametrize(
    ("size", "block"), [((32, 32), 4096), ((96, 128), 256), ((256, 256), 64), ((720, 1280), 16)]
)
def test_default_shuffle_block_fits_in_memory(size: tuple[int, int], block: int) -> None:
    assert default_shuffle_block(*size) == block


def test_record_stream_drops_records_before_the_start(dataset: Write) -> None:
    opened = open_split(dataset([8, 8]), "train")
    records_of = RecordMixture([opened], DataConfig(shuffle_block=16), seed=0, wrapped=False)
    (stream,) = records_of.streams.values()
    records, positions = next(iter(stream.blocks(13)))
    assert positions.numpy().tolist() == [13, 14, 15]
    parsed = tf.io.parse_example(records, {"frame": tf.io.FixedLenFeature([], tf.string)})
    got = [int(frame) for frame in parsed["frame"].numpy()]
    assert got == records_at(stream.order, 13, 3)


def test_unwrap_inverts_wrap() -> None:
    strings = tf.data.Dataset.from_tensor_slices([b"one", b"", b"three"])
    wrapped = (
        strings.map(record_stream.wrap).batch(3).map(lambda batch: tf.gather(batch, [2, 0, 1]))
    )
    got = [record.numpy() for record in wrapped.unbatch().map(record_stream.unwrap)]
    assert got == [b"three", b"one", b""]
