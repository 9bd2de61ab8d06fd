import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.data.shuffle import Mixture, ShardOrder
from tfdeblur.ops.random import key_of

orders = st.builds(
    ShardOrder,
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=9).map(tuple),
    key=st.integers(0, 2**64 - 1),
    open_shards=st.integers(1, 5),
    block=st.integers(1, 12),
)


def int64(value: int) -> tf.Tensor:
    return tf.constant(value, tf.int64)


class TestShardOrder:
    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=60, deadline=None)
    def test_epoch_holds_each_record_once(self, order: ShardOrder, epoch: int) -> None:
        everything = list(range(order.records))
        assert sorted(order.reading_order(epoch)) == everything
        assert sorted(order.epoch(epoch)) == everything

    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=60, deadline=None)
    def test_reading_order_reads_files_sequentially(self, order: ShardOrder, epoch: int) -> None:
        shard_of = np.repeat(np.arange(len(order.counts)), order.counts)
        reading = order.reading_order(epoch)
        open_shards: list[int] = []
        for shard in range(len(order.counts)):
            indices = np.flatnonzero(shard_of[reading] == shard)
            assert (np.diff(reading[indices]) == 1).all()
            open_shards += range(indices[0], indices[-1] + 1)
        assert np.bincount(open_shards).max() <= order.open_shards

    @given(order=orders)
    @settings(max_examples=30, deadline=None)
    def test_epoch_permutes_within_blocks_only(self, order: ShardOrder) -> None:
        reading, used = order.reading_order(2), order.epoch(2)
        for first in range(0, order.records, order.block):
            block = slice(first, first + order.block)
            assert sorted(reading[block]) == sorted(used[block])

    def test_readers_are_interleaved_round_robin(self) -> None:
        order = ShardOrder((2, 2, 1), key=7, open_shards=3, block=1)
        shards = order.reader_shards(0)[:, 0]
        first = {0: 0, 1: 2, 2: 4}
        expected = [first[shard] for shard in shards]
        expected += [first[shard] + 1 for shard in shards if shard != 2]
        assert order.reading_order(0).tolist() == expected

    @pytest.mark.parametrize(
        ("shards", "open_shards", "readers"), [(16, 16, 16), (17, 16, 9), (33, 16, 11), (3, 16, 3)]
    )
    def test_readers_differ_by_at_most_one_shard(
        self, shards: int, open_shards: int, readers: int
    ) -> None:
        order = ShardOrder((1,) * shards, key=0, open_shards=open_shards, block=1)
        assert order.readers == readers
        lengths = (order.reader_shards(0) >= 0).sum(axis=1)
        assert lengths.max() - lengths.min() <= 1

    def test_epoch_depends_on_number_and_seed(self) -> None:
        counts = (50, 50)
        order = ShardOrder(counts, key_of(0), 16, 4096)
        epochs = [order.epoch(epoch).tolist() for epoch in range(4)]
        other = ShardOrder(counts, key_of(1), 16, 4096).epoch(0).tolist()
        assert len({tuple(epoch) for epoch in [*epochs, other]}) == 5

    def test_epoch_is_uncorrelated_with_file_order(self) -> None:
        order = ShardOrder((100,) * 8, key_of(5), open_shards=8, block=800)
        ranks = np.argsort(order.epoch(0))
        correlation = np.corrcoef(ranks, np.arange(800))[0, 1]
        assert abs(correlation) < 0.1

    @given(order=orders, epoch=st.integers(0, 50), share=st.floats(0, 1, exclude_max=True))
    @settings(max_examples=60, deadline=None)
    def test_reader_progress_matches_reading_order(
        self, order: ShardOrder, epoch: int, share: float
    ) -> None:
        count = int(share * order.records)
        shards = order.reader_shards(epoch)
        reader_of_shard = [int(np.argwhere(shards == s)[0, 0]) for s in range(len(order.counts))]
        reader_of_record = np.repeat(reader_of_shard, order.counts)
        read = reader_of_record[order.reading_order(epoch)]
        progress, next_reader = order.reader_progress(epoch, count)
        expected = np.bincount(read[:count], minlength=order.readers)
        np.testing.assert_array_equal(progress, expected)
        assert next_reader == read[count]

    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=15, deadline=None)
    def test_tensor_methods_equal_numpy(self, order: ShardOrder, epoch: int) -> None:
        np.testing.assert_array_equal(
            order.reader_shards_tensor(int64(epoch)), order.reader_shards(epoch)
        )
        reading = order.reading_order_tensor(int64(epoch)).numpy()
        np.testing.assert_array_equal(reading, order.reading_order(epoch))
        used = [
            reading[first : first + order.block][
                order.block_permutation_tensor(int64(epoch), int64(first))
            ]
            for first in range(0, order.records, order.block)
        ]
        np.testing.assert_array_equal(np.concatenate(used), order.epoch(epoch))


class TestMixture:
    def test_choices_follow_weights(self) -> None:
        mixture = Mixture((3.0, 1.0, 2.0), key_of(0))
        counts = np.bincount(mixture.choices(0, 60_000))
        np.testing.assert_allclose(counts, [30_000, 10_000, 20_000], rtol=0.03)

    def test_choice_depends_on_position_only(self) -> None:
        mixture = Mixture((1.0, 2.0), key_of(4))
        reference = mixture.choices(0, 100)
        np.testing.assert_array_equal(mixture.choices(37, 20), reference[37:57])
        positions = tf.range(37, 57, dtype=tf.int64)
        np.testing.assert_array_equal(mixture.choices_tensor(positions), reference[37:57])

    @pytest.mark.parametrize("position", [0, 1, 100, 2_500_000])
    def test_counts_before_equals_counted_choices(self, position: int) -> None:
        mixture = Mixture((1.0, 0.5, 0.1), key_of(4))
        expected = np.bincount(mixture.choices(0, position), minlength=3)
        assert mixture.counts_before(position) == expected.tolist()

    def test_choices_of_one_data_set_are_zero(self) -> None:
        assert not Mixture((0.3,), key_of(0)).choices(0, 100).any()
