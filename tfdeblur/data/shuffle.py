"""The order of training samples, computed instead of buffered.

A *position* counts images since training began. The record at a position is a function of the seed
and the position alone, so training can start anywhere, and neither the batch size nor the number
of threads, replicas, hosts or restarts changes the sequence:

1. The position determines the epoch and the index within it; epochs follow without a gap.
2. Each epoch permutes the shards and deals them to *readers*, as many as shards are open at once.
   The readers are interleaved round-robin, one record each, skipping those that have finished.
   This *reading order* mixes as many scenes as there are readers, while every file is read
   sequentially.
3. The reading order is cut into fixed *blocks*, and the records of each block are permuted.

Every draw is a counter-based random number; see `ops.random`.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.ops.random import draw, draw_tensor, subkey, subkey_tensor

# Streams below the seed of a run.
ORDER, AUGMENTATION, MIXTURE, SYNTHESIS = 0, 1, 2, 3

# Streams below the key of a data set's order.
_SHARDS, _RECORDS = 0, 1

# Positions counted per step in `Mixture.counts_before`: 8 MiB per array.
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class ShardOrder:
    """The endless order of one data set's records.

    Records are numbered through the shards in the order of the manifest. The NumPy methods are the
    definition; the `*_tensor` methods return the same numbers inside a graph.

    Attributes:
        counts: Records in each shard, all above zero.
        key: Key of the order; see `ops.random.key_of`.
        open_shards: Maximum number of shards that are read at once.
        block: Records that are permuted among each other.
    """

    counts: tuple[int, ...]
    key: int
    open_shards: int
    block: int

    @functools.cached_property
    def records(self) -> int:
        """Records in one epoch."""
        return sum(self.counts)

    @functools.cached_property
    def rounds(self) -> int:
        """Maximum number of shards that one reader reads, one after another, in one epoch."""
        return -(-len(self.counts) // self.open_shards)

    @functools.cached_property
    def readers(self) -> int:
        """Shards read at once: as few as take `rounds` rounds, so that all of them finish late."""
        return -(-len(self.counts) // self.rounds)

    @functools.cached_property
    def _offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    def reader_shards(self, epoch: int) -> np.ndarray:
        """Returns the shards of each reader, int64 [readers, rounds], padded with -1."""
        draws = draw(subkey(self.key, _SHARDS, epoch), np.arange(len(self.counts)))
        shards = np.argsort(draws, kind="stable")
        padded = np.full(self.readers * self.rounds, -1, np.int64)
        padded[: len(shards)] = shards
        return padded.reshape(self.rounds, self.readers).T

    def reading_order(self, epoch: int) -> np.ndarray:
        """Returns the records of an epoch in reading order: int64 [records]."""
        record, reader, cycle = [], [], []
        for number, shards in enumerate(self.reader_shards(epoch)):
            ranges = [self._offsets[s] + np.arange(self.counts[s]) for s in shards if s >= 0]
            record.append(np.concatenate(ranges))
            reader.append(np.full(len(record[-1]), number))
            cycle.append(np.arange(len(record[-1])))
        return np.concatenate(record)[np.lexsort([np.concatenate(reader), np.concatenate(cycle)])]

    def epoch(self, epoch: int) -> np.ndarray:
        """Returns the records of an epoch in training order: int64 [records]."""
        index = np.arange(self.records)
        draws = draw(subkey(self.key, _RECORDS, epoch), index)
        return self.reading_order(epoch)[np.lexsort([draws, index // self.block])]

    def reader_progress(self, epoch: int, count: int) -> tuple[np.ndarray, int]:
        """Returns the state of the readers after some records of an epoch have been read.

        Args:
            epoch: The epoch.
            count: Number of records read, from 0 to `records` - 1.

        Returns:
            The number of records that each reader has read, int64 [readers], adding up to `count`;
            and the reader of the next record.
        """
        shards = self.reader_shards(epoch)
        lengths = np.where(shards >= 0, np.asarray(self.counts)[shards], 0).sum(axis=1)
        # Finished cycles: the largest number of them that takes no more than `count` records.
        low, high = 0, int(lengths.max())
        while low < high:
            middle = (low + high + 1) // 2
            if np.minimum(lengths, middle).sum() <= count:
                low = middle
            else:
                high = middle - 1
        progress = np.minimum(lengths, low)
        unfinished = np.flatnonzero(lengths > low)
        remainder = count - int(progress.sum())
        progress[unfinished[:remainder]] += 1
        return progress, int(unfinished[remainder])

    def reader_shards_tensor(self, epoch: tf.Tensor) -> tf.Tensor:
        """Returns the same as `reader_shards` inside a graph, for an int64 epoch."""
        count = len(self.counts)
        key = subkey_tensor(subkey(self.key, _SHARDS), epoch)
        shards = tf.argsort(draw_tensor(key, tf.range(count, dtype=tf.int64)), stable=True)
        padding = [[0, self.readers * self.rounds - count]]
        padded = tf.pad(tf.cast(shards, tf.int64), padding, constant_values=-1)
        return tf.transpose(tf.reshape(padded, [self.rounds, self.readers]))

    def reading_order_tensor(self, epoch: tf.Tensor) -> tf.Tensor:
        """Returns the same as `reading_order` inside a graph, for an int64 epoch."""
        counts = tf.constant(self.counts, tf.int64)
        # Slot `round * readers + reader` holds one shard; only slots at the very end are empty.
        by_slot = tf.reshape(tf.transpose(self.reader_shards_tensor(epoch)), [-1])
        missing = self.readers * self.rounds - len(self.counts)
        slot_counts = tf.pad(tf.gather(counts, by_slot[: len(self.counts)]), [[0, missing]])
        table = tf.reshape(slot_counts, [self.rounds, self.readers])
        starts = tf.reshape(tf.cumsum(table, exclusive=True), [-1])
        slots = tf.argsort(by_slot[: len(self.counts)], stable=True)  # of each shard
        shard = tf.repeat(tf.range(len(self.counts)), counts)  # of each record
        slot = tf.gather(slots, shard)
        cycle = tf.range(self.records, dtype=tf.int64) - tf.gather(self._offsets, shard)
        cycle += tf.gather(starts, slot)
        reader = tf.cast(slot % self.readers, tf.int64)
        return tf.argsort(cycle * self.readers + reader, stable=True)

    def block_permutation_tensor(self, epoch: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Returns the permutation of one block, inside a graph.

        Args:
            epoch: int64 [].
            first: int64 []: index of the block's first record in the reading order of the epoch, a
                multiple of `block`.

        Returns:
            int32 [size]: indices relative to `first`, in training order. The last block of an
            epoch may be shorter than the others.
        """
        key = subkey_tensor(subkey(self.key, _RECORDS), epoch)
        last = tf.minimum(first + self.block, self.records)
        return tf.argsort(draw_tensor(key, tf.range(first, last)), stable=True)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Random choice of one of several data sets at each position.

    Attributes:
        weights: How often each data set is drawn, in any unit; above zero.
        key: Key of the draws; see `ops.random.key_of`.
    """

    weights: tuple[float, ...]
    key: int

    @functools.cached_property
    def _bounds(self) -> list[int]:
        shares = np.cumsum(self.weights)[:-1] / sum(self.weights)
        return [int(share * 2.0**63) for share in shares]

    def choices(self, first: int, count: int) -> np.ndarray:
        """Returns the data set at each of `count` positions from `first` on: int64 [count]."""
        draws = draw(self.key, np.arange(first, first + count))
        return np.searchsorted(np.asarray(self._bounds, np.int64), draws, side="right")

    def choices_tensor(self, positions: tf.Tensor) -> tf.Tensor:
        """Returns the data set at each position, inside a graph: int64 [n] for int64 [n]."""
        bounds = tf.constant(self._bounds, tf.int64)
        draws = draw_tensor(self.key, positions)
        return tf.searchsorted(bounds, draws, side="right", out_type=tf.int64)

    def counts_before(self, position: int) -> list[int]:
        """Returns how many of the first `position` samples come from each data set.

        Repeats the draws of all those positions: about a second per hundred million images.
        """
        counts = np.zeros(len(self.weights), np.int64)
        for first in range(0, position, _CHUNK):
            count = min(_CHUNK, position - first)
            counts += np.bincount(self.choices(first, count), minlength=len(counts))
        return [int(count) for count in counts]
