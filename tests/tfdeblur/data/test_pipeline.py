import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data import dataset as opening
from tfdeblur.data import pipeline, reader
from tfdeblur.data.pipeline import TrainingData, default_shuffle_block
from tfdeblur.data.shuffle import Mixture, ShardOrder, key_of
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.training.engines.tensorflow import runtime

SHARDS = (5, 3, 7, 1, 4, 6, 2)
PLAIN = {"horizontal_flips": False, "vertical_flips": False}
SMALL = {"shuffle_block": 8, "open_shards": 3}
Write = Callable[..., str]


def number(image: np.ndarray) -> int:
    """The record that an unturned, uncropped image comes from."""
    return int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])


def take(dataset: tf.data.Dataset, count: int) -> dict[str, np.ndarray]:
    """The first `count` samples."""
    halves: dict[str, list[np.ndarray]] = {"blurred": [], "sharp": []}
    for batch in dataset:
        for name, images in halves.items():
            images.extend(batch[name].numpy())
        if len(halves["sharp"]) >= count:
            break
    return {name: np.stack(images[:count]) for name, images in halves.items()}


def numbers(dataset: tf.data.Dataset, count: int) -> list[int]:
    return [number(image) for image in take(dataset, count)["blurred"]]


def expected_order(seed: int, shards: Sequence[int] = SHARDS, data_set: int = 0) -> ShardOrder:
    """The order that `SMALL` asks for, built apart from the pipeline."""
    return ShardOrder(tuple(shards), key_of(seed, 0, data_set), open_shards=3, block=8)


@pytest.fixture(params=["raw", "png", "boxed", "cached", "cached boxed"])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The ways by which records come to be samples, as arguments of `write` and `TrainingData`."""
    if "boxed" in request.param:
        monkeypatch.setattr(pipeline, "BOXED_BYTES", 1)
    encoding = "png" if request.param == "png" else "raw"
    return {"write": {"encoding": encoding}, "read": {"cache": "cached" in request.param}}


class TestOrder:
    def test_is_the_computed_one(self, dataset: Write, variant: dict[str, Any]) -> None:
        path = dataset(SHARDS, **variant["write"])
        data = TrainingData(path, seed=3, **SMALL, **PLAIN, **variant["read"])
        expected = expected_order(3).window(0, 70).tolist()
        assert numbers(data.dataset(4), 70) == expected
        assert sorted(expected[:28]) == sorted(expected[28:56]) == list(range(28))

    # In the first block, on its edge, within a later block, on the edge of an epoch, and far on.
    @pytest.mark.parametrize(
        "start",
        [3, 28, 28 * 40 + 13, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 19))],
    )
    def test_starts_anywhere(self, dataset: Write, variant: dict[str, Any], start: int) -> None:
        path = dataset(SHARDS, **variant["write"])
        data = TrainingData(path, seed=3, **SMALL, **PLAIN, **variant["read"])
        expected = expected_order(3).window(start, 40).tolist()
        assert numbers(data.dataset(4, start), 40) == expected

    @pytest.mark.slow
    def test_every_position_is_a_start(self, dataset: Write) -> None:
        data = TrainingData(dataset(SHARDS), **SMALL)
        whole = take(data.dataset(5), 45)
        for start in (*range(0, 20, 3), *range(25, 31)):
            part = take(data.dataset(2, start), 10)
            for half in part:
                np.testing.assert_array_equal(part[half], whole[half][start : start + 10])

    @pytest.mark.parametrize(
        "how",
        [{"readers": 4}, {"threads": 1}, {"cache": True}, {"readers": 2, "threads": 3}],
        ids=str,
    )
    def test_nothing_else_changes_it(self, dataset: Write, how: dict[str, Any]) -> None:
        path = dataset(SHARDS, size=(8, 8))
        arguments = {**SMALL, "crop": (5, 5), "quarter_turns": True, "seed": 9}
        expected = take(TrainingData(path, **arguments).dataset(4), 60)
        for batch_size in (1, 7):
            got = take(TrainingData(path, **arguments, **how).dataset(batch_size), 60)
            for half in got:
                np.testing.assert_array_equal(got[half], expected[half])

    def test_follows_the_seed(self, dataset: Write) -> None:
        path = dataset(SHARDS)
        sequences = {
            tuple(numbers(TrainingData(path, seed=seed, **PLAIN).dataset(4), 28))
            for seed in range(3)
        }
        assert len(sequences) == 3

    def test_shards_before_the_start_are_not_read(self, dataset: Write) -> None:
        path = dataset(SHARDS)
        data = TrainingData(path, shuffle_block=4, open_shards=1, seed=1, **PLAIN)
        order = ShardOrder(SHARDS, key_of(1, 0, 0), open_shards=1, block=4)
        first = order.lane_shards(0)[0, 0]
        tf.io.gfile.remove(f"{path}/{data.manifests[0].splits['train'].shards[first].file}")
        # The first block without a record of that shard, which is gone by then.
        start = -(-SHARDS[first] // 4) * 4
        count = sum(SHARDS) - start
        assert numbers(data.dataset(1, start), count) == order.window(start, count).tolist()
        with pytest.raises(tf.errors.NotFoundError):
            numbers(data.dataset(1, start - 1), count)

    def test_small_data_sets_repeat(self, dataset: Write) -> None:
        data = TrainingData(dataset([1, 1]), **PLAIN)
        got = numbers(data.dataset(5), 20)
        assert all(sorted(got[i : i + 2]) == [0, 1] for i in range(0, 20, 2))


class TestSamples:
    @pytest.mark.parametrize("crop", [None, (6, 4)])
    def test_are_uint8_of_static_shape(
        self, dataset: Write, variant: dict[str, Any], crop: tuple[int, int] | None
    ) -> None:
        path = dataset([4, 4], size=(8, 10), **variant["write"])
        data = TrainingData(path, crop=crop, **variant["read"])
        height, width = crop or (8, 10)
        spec = tf.TensorSpec([3, height, width, 3], tf.uint8)
        assert data.dataset(3).element_spec == {"blurred": spec, "sharp": spec}
        assert (data.height, data.width, data.records) == (height, width, 8)
        batch = next(iter(data.dataset(3)))
        np.testing.assert_array_equal(batch["blurred"], 255 - batch["sharp"].numpy())

    def test_crops_and_flips_vary_from_epoch_to_epoch(self, dataset: Write) -> None:
        data = TrainingData(dataset([1], size=(8, 8)), crop=(6, 6))
        seen = {sample.tobytes() for sample in take(data.dataset(8), 64)["sharp"]}
        assert len(seen) > 20

    def test_small_and_large_records_give_the_same_samples(
        self, dataset: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = dataset(SHARDS, size=(6, 6))
        in_batches = TrainingData(path, quarter_turns=True)
        monkeypatch.setattr(pipeline, "BOXED_BYTES", 1)
        one_by_one = TrainingData(path, quarter_turns=True)
        expected, got = (take(data.dataset(4), 60) for data in (in_batches, one_by_one))
        for half in got:
            np.testing.assert_array_equal(got[half], expected[half])

    def test_can_be_modified_before_they_are_cropped(self, dataset: Write) -> None:
        def middle(pair: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {"blurred": pair["sharp"][1:-1], "sharp": pair["sharp"][1:-1]}

        path = dataset(SHARDS, size=(8, 10))
        data = TrainingData(path, modify=middle)
        assert (data.height, data.width) == (6, 10)
        batch = next(iter(data.dataset(3)))
        np.testing.assert_array_equal(batch["blurred"], batch["sharp"])
        assert TrainingData(path, modify=middle, crop=(6, 6)).dataset(2).element_spec[
            "sharp"
        ].shape == [2, 6, 6, 3]

    @pytest.mark.parametrize(
        "modify",
        [
            lambda pair: pair["sharp"],
            lambda pair: {"sharp": pair["sharp"]},
            lambda pair: {name: tf.cast(image, tf.float32) for name, image in pair.items()},
            lambda pair: {**pair, "sharp": pair["sharp"][:2]},
            lambda pair: {name: image[..., 0] for name, image in pair.items()},
        ],
    )
    def test_a_bad_modification_is_refused(self, dataset: Write, modify: Any) -> None:
        with pytest.raises(ConfigError, match="modify must return"):
            TrainingData(dataset([3]), modify=modify)


class TestMixing:
    def test_each_data_set_keeps_its_own_count(self, dataset: Write) -> None:
        paths = [dataset(SHARDS, size=(4, 4)), dataset([9, 8], size=(4, 4), first=1000)]
        data = TrainingData(paths, weights=(1, 2), seed=5, **SMALL, **PLAIN)
        assert data.records == 28 + 17
        choices = Mixture((1.0, 2.0), key_of(5, 2)).choices(0, 90)
        streams = [
            iter(expected_order(5).window(0, 90)),
            iter(1000 + expected_order(5, (9, 8), 1).window(0, 90)),
        ]
        expected = [int(next(streams[choice])) for choice in choices]
        assert numbers(data.dataset(4), 90) == expected
        assert 45 < sum(n >= 1000 for n in expected) < 75
        for start in (1, 33, 50):
            assert numbers(data.dataset(3, start), 30) == expected[start : start + 30]

    @pytest.mark.parametrize("cache", [False, True])
    def test_data_sets_of_different_layout(self, dataset: Write, cache: bool) -> None:
        paths = [
            dataset([6], size=(8, 8)),
            dataset([6], size=(10, 12), encoding="png", first=1000),
        ]
        data = TrainingData(paths, crop=(8, 8), cache=cache, **PLAIN)
        batch = take(data.dataset(4), 24)
        np.testing.assert_array_equal(batch["blurred"], 255 - batch["sharp"])
        assert batch["sharp"].shape == (24, 8, 8, 3)
        whole = {n for n in (number(image) for image in batch["blurred"]) if n < 6}
        assert whole == set(range(6))

    def test_weights_are_sizes_by_default(self, dataset: Write) -> None:
        paths = [dataset([30]), dataset([10], first=1000)]
        got = numbers(TrainingData(paths, **PLAIN).dataset(10), 1000)
        assert 200 < sum(n >= 1000 for n in got) < 300

    def test_sizes_that_disagree(self, dataset: Write) -> None:
        paths = [dataset([2], size=(8, 8)), dataset([2], size=(8, 9))]
        with pytest.raises(DataError, match=r"differ in size.*8x8.*9x8.*crop"):
            TrainingData(paths)
        assert TrainingData(paths, crop=(8, 8)).width == 8

    @pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("nan"))])
    def test_bad_weights(self, dataset: Write, weights: tuple[float, ...]) -> None:
        path = dataset([2])
        with pytest.raises(ConfigError, match="weights"):
            TrainingData([path, path], weights=weights)


class TestHosts:
    def test_together_see_what_one_sees(self, dataset: Write, variant: dict[str, Any]) -> None:
        path = dataset(SHARDS, size=(6, 6), **variant["write"])
        self.check(TrainingData(path, crop=(4, 4), **SMALL, **variant["read"]), 2, 2)

    @pytest.mark.parametrize(
        ("hosts", "batch_size"), [(2, 4), pytest.param(4, 1, marks=pytest.mark.slow)]
    )
    def test_however_many_they_are(self, dataset: Write, hosts: int, batch_size: int) -> None:
        self.check(TrainingData(dataset(SHARDS, size=(4, 4)), **SMALL), hosts, batch_size)

    @staticmethod
    def check(data: TrainingData, hosts: int, batch_size: int) -> None:
        whole = take(data.dataset(8, 5), 40)["sharp"].reshape(5, hosts, -1, 4, 4, 3)
        for host in range(hosts):
            share = data.dataset(batch_size, 5, global_batch=8, hosts=hosts, host=host)
            got = take(share, 40 // hosts)["sharp"].reshape(5, -1, 4, 4, 3)
            np.testing.assert_array_equal(got, whole[:, host])

    @pytest.mark.slow
    def test_of_several_data_sets(self, dataset: Write) -> None:
        data = TrainingData([dataset(SHARDS), dataset([9], first=1000)], **PLAIN)
        whole = numbers(data.dataset(4), 40)
        shares = [
            numbers(data.dataset(2, global_batch=4, hosts=2, host=host), 20) for host in (0, 1)
        ]
        joined = itertools.chain.from_iterable(
            (*shares[0][i : i + 2], *shares[1][i : i + 2]) for i in range(0, 20, 2)
        )
        assert list(joined) == whole

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
    def test_numbers_that_do_not_fit(self, dataset: Write, bad: dict[str, int]) -> None:
        data = TrainingData(dataset([4]))
        with pytest.raises(ConfigError):
            data.dataset(**bad)

    def test_replicas_take_consecutive_batches(self, dataset: Write) -> None:
        data = TrainingData(dataset(SHARDS, size=(6, 6)), quarter_turns=True)
        whole = take(data.dataset(8), 32)["sharp"]
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
            np.testing.assert_array_equal(got, whole[8 * step : 8 * step + 8])


class TestBadInput:
    def test_crop_larger_than_the_tile(self, dataset: Write) -> None:
        path = dataset([2], size=(8, 12))
        with pytest.raises(DataError, match=rf"{path}.*12x8.*smaller.*12x9"):
            TrainingData(path, crop=(9, 12))

    def test_quarter_turns_of_oblong_samples(self, dataset: Write) -> None:
        path = dataset([2], size=(8, 12))
        with pytest.raises(ConfigError, match=r"quarter_turns.*12x8"):
            TrainingData(path, quarter_turns=True)
        assert TrainingData(path, quarter_turns=True, crop=(8, 8)).width == 8

    @pytest.mark.parametrize(
        "bad", [{"shuffle_block": 0}, {"open_shards": 0}, {"crop": (0, 4)}, {"threads": 0}], ids=str
    )
    def test_numbers_below_one(self, dataset: Write, bad: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="at least 1"):
            TrainingData(dataset([2]), **bad)

    def test_no_data_set(self) -> None:
        with pytest.raises(ConfigError, match="at least one folder"):
            TrainingData(())

    def test_unknown_split(self, dataset: Write) -> None:
        with pytest.raises(DataError, match="'train'"):
            TrainingData(dataset([2]), split="trian")

    def test_a_shard_that_lost_records_while_training(self, dataset: Write) -> None:
        path = dataset([4, 4])
        data = TrainingData(path)
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        first = next(iter(tf.data.TFRecordDataset(shard))).numpy()
        tf.io.gfile.remove(shard)  # `ram://` would append to a file that exists
        with tf.io.TFRecordWriter(shard) as writer:
            writer.write(first)
        with pytest.raises(opening.READ_ERRORS) as caught:
            take(data.dataset(2), 16)
        explained = opening.explain_read_error(caught.value, data.paths, data.split)
        assert shard in str(explained)

    def test_a_damaged_record_is_named_when_it_is_loaded_into_memory(self, dataset: Write) -> None:
        path = dataset([4, 4])
        data = TrainingData(path, cache=True)
        shard = f"{path}/{data.manifests[0].splits['train'].shards[1].file}"
        with tf.io.gfile.GFile(shard, "rb") as file:
            content = bytearray(file.read())
        tf.io.gfile.remove(shard)  # `ram://` would append to a file that exists
        content[-20] ^= 255
        with tf.io.gfile.GFile(shard, "wb") as file:
            file.write(bytes(content))
        with pytest.raises(DataError, match=rf"{shard} is damaged at record 3"):
            data.dataset(2)


@pytest.mark.parametrize(
    ("size", "block"), [((32, 32), 4096), ((96, 128), 256), ((256, 256), 64), ((720, 1280), 16)]
)
def test_default_shuffle_block(size: tuple[int, int], block: int) -> None:
    assert default_shuffle_block(*size) == block


def test_records_before_the_start_are_dropped_before_parsing(dataset: Write) -> None:
    path = dataset([8, 8])
    data = TrainingData(path, shuffle_block=16, **PLAIN)
    ((source,),) = data._records.sources
    records, descriptions = next(iter(source.stream(13).batch(3)))
    assert records.shape == (3,)
    parsed = tf.io.parse_example(records, {"frame": tf.io.FixedLenFeature([], tf.string)})
    got = [int(frame) for frame in parsed["frame"].numpy()]
    assert got == source.order.window(13, 3).tolist()
    assert descriptions.shape == (3, 4)


def test_boxes_give_back_what_was_put_in() -> None:
    strings = tf.data.Dataset.from_tensor_slices([b"one", b"", b"three"])
    boxes = strings.map(reader.boxed).batch(3).map(lambda batch: tf.gather(batch, [2, 0, 1]))
    got = [record.numpy() for record in boxes.unbatch().map(reader.unboxed)]
    assert got == [b"three", b"one", b""]
