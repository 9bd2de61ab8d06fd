"""The order of the samples: mathematics, with nothing buffered and no generator's state.

A position is a count of images since training began. Which record stands at a position follows
from the seed and the position alone, so training may start anywhere, and neither the batch size
nor the number of threads, replicas, machines or restarts changes the sequence:

1. The position gives the epoch and the place within it; epochs follow each other without a gap.
2. The epoch permutes the shards and deals them to *lanes*, as many as shards are open at once.
   The lanes take turns, one record each, and a lane that has ended is left out. This reading
   order mixes as many scenes as there are lanes, while every file is read from front to back.
3. The reading order is cut into fixed blocks, and the records of each block are permuted.

All draws are values of SplitMix64, a counter-based generator: the n-th number of a stream is
computed by itself, in NumPy and in TensorFlow alike, and will be the same in every version of
both (`tf.random.stateless_*` does not promise that).

Reference:
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_MASK = (1 << 64) - 1

# The streams drawn from a run's seed.
ORDER, AUGMENTATION, MIXTURE, SYNTHESIS = 0, 1, 2, 3

# The streams drawn from the key of one data set.
_SHARDS, _RECORDS = 0, 1

# Positions whose data sets are counted at once: 8 MiB for each array of them.
_COUNTED_AT_ONCE = 1 << 20


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def subkey(key: int, *path: int) -> int:
    """Returns the key of the stream at a path of non-negative numbers below another key."""
    for number in path:
        key = _mix((key + (number + 1) * _GOLDEN) & _MASK)
    return key


def key_of(seed: int, *path: int) -> int:
    """Returns the key of the stream at a path of non-negative numbers below a seed."""
    return subkey(_mix((seed + _GOLDEN) & _MASK), *path)


def draw(key: int, places: np.ndarray) -> np.ndarray:
    """Returns numbers of a stream.

    Args:
        key: Key of the stream.
        places: Non-negative integers [n]: which numbers of the stream.

    Returns:
        int64 [n], uniform over [0, 2**63).
    """
    value = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN) + np.uint64(key)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    return ((value ^ (value >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _unsigned(value: int) -> tf.Tensor:
    return tf.constant(np.uint64(value), tf.uint64)


def subkey_tensor(key: int | tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Does in a graph what `subkey` does for a path of one.

    Args:
        key: The key above, a number or uint64 [].
        number: Non-negative int64, of any shape.

    Returns:
        uint64 of the shape of `number`.
    """
    above = _unsigned(key) if isinstance(key, int) else key
    value = (tf.cast(number, tf.uint64) + _unsigned(1)) * _unsigned(_GOLDEN) + above
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        folded = tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _unsigned(shift)))
        value = folded * _unsigned(factor)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _unsigned(31)))


def draw_tensor(key: int | tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Does in a graph what `draw` does.

    Args:
        key: Key of the stream, a number or uint64 [].
        places: Non-negative int64 [n].

    Returns:
        int64 [n], equal to those of `draw`.
    """
    return tf.cast(tf.bitwise.right_shift(subkey_tensor(key, places), _unsigned(1)), tf.int64)


@dataclasses.dataclass(frozen=True)
class ShardOrder:
    """The endless order of one data set's records.

    Records are numbered through the shards in the order of the manifest. The NumPy methods are the
    definition; the `*_tensor` methods give the same numbers inside a graph.

    Attributes:
        counts: Records in each shard, all above zero.
        key: Key of the order; see `key_of`.
        open_shards: Most shards that are read at once.
        block: Records that are permuted among each other.
    """

    counts: tuple[int, ...]
    key: int
    open_shards: int = 16
    block: int = 4096

    @functools.cached_property
    def records(self) -> int:
        """Records in one epoch."""
        return sum(self.counts)

    @functools.cached_property
    def rounds(self) -> int:
        """Most shards that one lane reads, one after another, in one epoch."""
        return -(-len(self.counts) // self.open_shards)

    @functools.cached_property
    def lanes(self) -> int:
        """Shards read at once: as few as do in the same number of rounds, so that all end late."""
        return -(-len(self.counts) // self.rounds)

    @functools.cached_property
    def _offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    def lane_shards(self, epoch: int) -> np.ndarray:
        """Returns the shards that each lane reads: int64 [lanes, rounds], -1 where it has ended."""
        lots = draw(subkey(self.key, _SHARDS, epoch), np.arange(len(self.counts)))
        shards = np.argsort(lots, kind="stable")
        padded = np.full(self.lanes * self.rounds, -1, np.int64)
        padded[: len(shards)] = shards
        return padded.reshape(self.rounds, self.lanes).T

    def reading_order(self, epoch: int) -> np.ndarray:
        """Returns the records in the order in which an epoch reads them: int64 [records]."""
        record, lane, turn = [], [], []
        for number, shards in enumerate(self.lane_shards(epoch)):
            ranges = [self._offsets[s] + np.arange(self.counts[s]) for s in shards if s >= 0]
            record.append(np.concatenate(ranges))
            lane.append(np.full(len(record[-1]), number))
            turn.append(np.arange(len(record[-1])))
        return np.concatenate(record)[np.lexsort([np.concatenate(lane), np.concatenate(turn)])]

    def epoch(self, epoch: int) -> np.ndarray:
        """Returns the records of an epoch in the order in which they are used: int64 [records]."""
        place = np.arange(self.records)
        lots = draw(subkey(self.key, _RECORDS, epoch), place)
        return self.reading_order(epoch)[np.lexsort([lots, place // self.block])]

    def window(self, position: int, count: int) -> np.ndarray:
        """Returns the records at `count` positions from `position` on: int64 [count]."""
        first, start = divmod(position, self.records)
        last = (position + max(count, 1) - 1) // self.records
        epochs = [self.epoch(epoch) for epoch in range(first, last + 1)]
        return np.concatenate(epochs)[start : start + count]

    def lane_progress(self, epoch: int, place: int) -> tuple[np.ndarray, int]:
        """Tells where the lanes stand when an epoch has been read up to some place.

        Args:
            epoch: The epoch.
            place: Count of records read, from 0 to one less than `records`.

        Returns:
            How many records each lane has given, int64 [lanes], adding up to `place`; and the lane
            whose turn it is.
        """
        shards = self.lane_shards(epoch)
        lengths = np.where(shards >= 0, np.asarray(self.counts)[shards], 0).sum(axis=1)
        # The number of finished turns is the largest one that takes no more than `place` records.
        low, high = 0, int(lengths.max())
        while low < high:
            middle = (low + high + 1) // 2
            if np.minimum(lengths, middle).sum() <= place:
                low = middle
            else:
                high = middle - 1
        progress = np.minimum(lengths, low)
        going_on = np.flatnonzero(lengths > low)
        begun = place - int(progress.sum())
        progress[going_on[:begun]] += 1
        return progress, int(going_on[begun])

    def lane_shards_tensor(self, epoch: tf.Tensor) -> tf.Tensor:
        """Does in a graph what `lane_shards` does, for an int64 epoch."""
        count = len(self.counts)
        key = subkey_tensor(subkey(self.key, _SHARDS), epoch)
        shards = tf.argsort(draw_tensor(key, tf.range(count, dtype=tf.int64)), stable=True)
        padding = [[0, self.lanes * self.rounds - count]]
        padded = tf.pad(tf.cast(shards, tf.int64), padding, constant_values=-1)
        return tf.transpose(tf.reshape(padded, [self.rounds, self.lanes]))

    def reading_order_tensor(self, epoch: tf.Tensor) -> tf.Tensor:
        """Does in a graph what `reading_order` does, for an int64 epoch."""
        counts = tf.constant(self.counts, tf.int64)
        # Slot `round * lanes + lane` holds one shard; only slots at the very end are empty.
        by_slot = tf.reshape(tf.transpose(self.lane_shards_tensor(epoch)), [-1])
        missing = self.lanes * self.rounds - len(self.counts)
        slot_counts = tf.pad(tf.gather(counts, by_slot[: len(self.counts)]), [[0, missing]])
        table = tf.reshape(slot_counts, [self.rounds, self.lanes])
        starts = tf.reshape(tf.cumsum(table, exclusive=True), [-1])
        slots = tf.argsort(by_slot[: len(self.counts)], stable=True)  # of each shard
        shard = tf.repeat(tf.range(len(self.counts)), counts)  # of each record
        slot = tf.gather(slots, shard)
        turn = tf.range(self.records, dtype=tf.int64) - tf.gather(self._offsets, shard)
        turn += tf.gather(starts, slot)
        return tf.argsort(turn * self.lanes + tf.cast(slot % self.lanes, tf.int64), stable=True)

    def block_tensor(self, epoch: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Returns the permutation of one block, inside a graph.

        Args:
            epoch: int64 [].
            first: int64 []: place of the block's first record in the epoch, a multiple of `block`.

        Returns:
            int32 [size]: places relative to `first` in reading order, in the order of use. The
            last block of an epoch may be shorter than the others.
        """
        key = subkey_tensor(subkey(self.key, _RECORDS), epoch)
        last = tf.minimum(first + self.block, self.records)
        return tf.argsort(draw_tensor(key, tf.range(first, last)), stable=True)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Which of several data sets gives the sample at a position: one draw for each position.

    Attributes:
        weights: How often each data set is drawn, in any unit; above zero.
        key: Key of the draws; see `key_of`.
    """

    weights: tuple[float, ...]
    key: int

    @functools.cached_property
    def _bounds(self) -> list[int]:
        shares = np.cumsum(self.weights)[:-1] / sum(self.weights)
        return [int(share * 2.0**63) for share in shares]

    def choices(self, first: int, count: int) -> np.ndarray:
        """Returns the data set of each of `count` positions from `first` on: int64 [count]."""
        lots = draw(self.key, np.arange(first, first + count))
        return np.searchsorted(np.asarray(self._bounds, np.int64), lots, side="right")

    def choices_tensor(self, positions: tf.Tensor) -> tf.Tensor:
        """Returns the data set of each position, inside a graph: int64 [n] for int64 [n]."""
        bounds = tf.constant(self._bounds, tf.int64)
        lots = draw_tensor(self.key, positions)
        return tf.searchsorted(bounds, lots, side="right", out_type=tf.int64)

    def counts_before(self, position: int) -> list[int]:
        """Returns how many of the first `position` samples each data set gives.

        Draws for all those positions are made anew, about a second for a hundred million images.
        """
        counts = np.zeros(len(self.weights), np.int64)
        for first in range(0, position, _COUNTED_AT_ONCE):
            count = min(_COUNTED_AT_ONCE, position - first)
            counts += np.bincount(self.choices(first, count), minlength=len(counts))
        return [int(count) for count in counts]
