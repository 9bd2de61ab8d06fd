import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.data.shuffle import (
    Mixture,
    ShardOrder,
    draw,
    draw_tensor,
    key_of,
    subkey,
    subkey_tensor,
)

orders = st.builds(
    ShardOrder,
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=9).map(tuple),
    key=st.integers(0, 2**64 - 1),
    open_shards=st.integers(1, 5),
    block=st.integers(1, 12),
)


def int64(value: int) -> tf.Tensor:
    return tf.constant(value, tf.int64)


class TestDraws:
    def test_are_those_of_splitmix64(self) -> None:
        # The first outputs of the reference implementation for the state 0.
        expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
        assert [subkey(0, n) for n in range(4)] == expected
        np.testing.assert_array_equal(draw(0, np.arange(4)), [value >> 1 for value in expected])

    @given(key=st.integers(0, 2**64 - 1), first=st.integers(0, 2**62))
    @settings(max_examples=20, deadline=None)
    def test_are_the_same_in_a_graph(self, key: int, first: int) -> None:
        places = np.arange(first, first + 50)
        expected = draw(key, places)
        np.testing.assert_array_equal(draw_tensor(key, tf.constant(places)), expected)
        below = subkey_tensor(key, int64(first))
        assert int(below) == subkey(key, first)
        np.testing.assert_array_equal(
            draw_tensor(below, tf.constant(places)), draw(subkey(key, first), places)
        )

    def test_are_uniform(self) -> None:
        share = draw(key_of(3), np.arange(100_000)) / 2.0**63
        counts = np.histogram(share, 20, (0, 1))[0]
        assert abs(counts - 5000).max() < 300

    def test_keys_differ(self) -> None:
        keys = {key_of(seed, *path) for seed in range(20) for path in [(), (0,), (1,), (0, 1)]}
        assert len(keys) == 80


class TestShardOrder:
    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=60, deadline=None)
    def test_gives_each_record_once_in_an_epoch(self, order: ShardOrder, epoch: int) -> None:
        everything = list(range(order.records))
        assert sorted(order.reading_order(epoch)) == everything
        assert sorted(order.epoch(epoch)) == everything

    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=60, deadline=None)
    def test_reads_files_from_front_to_back(self, order: ShardOrder, epoch: int) -> None:
        shard_of = np.repeat(np.arange(len(order.counts)), order.counts)
        reading = order.reading_order(epoch)
        open_shards: list[int] = []
        for shard in range(len(order.counts)):
            places = np.flatnonzero(shard_of[reading] == shard)
            assert (np.diff(reading[places]) == 1).all()
            open_shards += range(places[0], places[-1] + 1)
        assert np.bincount(open_shards).max() <= order.open_shards

    @given(order=orders)
    @settings(max_examples=30, deadline=None)
    def test_permutes_within_blocks_only(self, order: ShardOrder) -> None:
        reading, used = order.reading_order(2), order.epoch(2)
        for first in range(0, order.records, order.block):
            block = slice(first, first + order.block)
            assert sorted(reading[block]) == sorted(used[block])

    def test_lanes_take_turns(self) -> None:
        order = ShardOrder((2, 2, 1), key=7, open_shards=3, block=1)
        lanes = order.lane_shards(0)[:, 0]
        first = {0: 0, 1: 2, 2: 4}
        expected = [first[shard] for shard in lanes]
        expected += [first[shard] + 1 for shard in lanes if shard != 2]
        assert order.reading_order(0).tolist() == expected

    @pytest.mark.parametrize(
        ("shards", "open_shards", "lanes"), [(16, 16, 16), (17, 16, 9), (33, 16, 11), (3, 16, 3)]
    )
    def test_lanes_are_of_even_length(self, shards: int, open_shards: int, lanes: int) -> None:
        order = ShardOrder((1,) * shards, key=0, open_shards=open_shards)
        assert order.lanes == lanes
        lengths = (order.lane_shards(0) >= 0).sum(axis=1)
        assert lengths.max() - lengths.min() <= 1

    def test_changes_with_epoch_and_seed(self) -> None:
        counts = (50, 50)
        order = ShardOrder(counts, key_of(0))
        epochs = [order.epoch(epoch).tolist() for epoch in range(4)]
        other = ShardOrder(counts, key_of(1)).epoch(0).tolist()
        assert len({tuple(epoch) for epoch in [*epochs, other]}) == 5

    def test_mixes_well(self) -> None:
        order = ShardOrder((100,) * 8, key_of(5), open_shards=8, block=800)
        ranks = np.argsort(order.epoch(0))
        correlation = np.corrcoef(ranks, np.arange(800))[0, 1]
        assert abs(correlation) < 0.1

    def test_window_joins_epochs(self) -> None:
        order = ShardOrder((3, 4), key_of(0))
        expected = np.concatenate([order.epoch(1), order.epoch(2), order.epoch(3)])
        np.testing.assert_array_equal(order.window(7 + 2, 13), expected[2:15])

    @given(order=orders, epoch=st.integers(0, 50), share=st.floats(0, 1, exclude_max=True))
    @settings(max_examples=60, deadline=None)
    def test_progress_is_where_reading_stands(
        self, order: ShardOrder, epoch: int, share: float
    ) -> None:
        place = int(share * order.records)
        lanes = order.lane_shards(epoch)
        lane_of_shard = [int(np.argwhere(lanes == s)[0, 0]) for s in range(len(order.counts))]
        lane_of_record = np.repeat(lane_of_shard, order.counts)
        read = lane_of_record[order.reading_order(epoch)]
        progress, turn = order.lane_progress(epoch, place)
        expected = np.bincount(read[:place], minlength=order.lanes)
        np.testing.assert_array_equal(progress, expected)
        assert turn == read[place]

    @given(order=orders, epoch=st.integers(0, 1000))
    @settings(max_examples=15, deadline=None)
    def test_is_the_same_in_a_graph(self, order: ShardOrder, epoch: int) -> None:
        np.testing.assert_array_equal(
            order.lane_shards_tensor(int64(epoch)), order.lane_shards(epoch)
        )
        reading = order.reading_order_tensor(int64(epoch)).numpy()
        np.testing.assert_array_equal(reading, order.reading_order(epoch))
        used = [
            reading[first : first + order.block][order.block_tensor(int64(epoch), int64(first))]
            for first in range(0, order.records, order.block)
        ]
        np.testing.assert_array_equal(np.concatenate(used), order.epoch(epoch))


class TestMixture:
    def test_draws_by_weight(self) -> None:
        mixture = Mixture((3.0, 1.0, 2.0), key_of(0))
        counts = np.bincount(mixture.choices(0, 60_000))
        np.testing.assert_allclose(counts, [30_000, 10_000, 20_000], rtol=0.03)

    def test_a_draw_depends_on_the_position_alone(self) -> None:
        mixture = Mixture((1.0, 2.0), key_of(4))
        whole = mixture.choices(0, 100)
        np.testing.assert_array_equal(mixture.choices(37, 20), whole[37:57])
        positions = tf.range(37, 57, dtype=tf.int64)
        np.testing.assert_array_equal(mixture.choices_tensor(positions), whole[37:57])

    @pytest.mark.parametrize("position", [0, 1, 100, 2_500_000])
    def test_counts_what_came_before(self, position: int) -> None:
        mixture = Mixture((1.0, 0.5, 0.1), key_of(4))
        expected = np.bincount(mixture.choices(0, position), minlength=3)
        assert mixture.counts_before(position) == expected.tolist()

    def test_one_data_set_gives_all(self) -> None:
        assert not Mixture((0.3,), key_of(0)).choices(0, 100).any()
