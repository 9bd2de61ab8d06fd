"""Streams of stored records in training order, from shards or from memory.

The order permutes the records within blocks, and copying records of several hundred kilobytes for
that costs more than parsing them. So a large record is wrapped as soon as it is read: a
tensor list with one element, which is permuted by reference.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.shuffle import ShardOrder
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.ops.lazy import without_autograph

# Smaller records are cheaper to copy than to wrap.
MIN_WRAPPED_BYTES = 1 << 15


def wrap(record: tf.Tensor) -> tf.Tensor:
    """Wraps a string [] into a variant [] that is copied by reference."""
    no_shape = tf.constant([], tf.int32)
    empty = tf.raw_ops.EmptyTensorList(
        element_shape=no_shape, max_num_elements=1, element_dtype=tf.string
    )
    return tf.raw_ops.TensorListPushBack(input_handle=empty, tensor=record)


def unwrap(record: tf.Tensor) -> tf.Tensor:
    """Returns the string [] of a wrapped record; a string [] is returned unchanged."""
    if record.dtype == tf.string:
        return record
    no_shape = tf.constant([], tf.int32)
    unwrapped = tf.raw_ops.TensorListGetItem(
        input_handle=record, index=0, element_shape=no_shape, element_dtype=tf.string
    )
    return tf.ensure_shape(unwrapped, [])


def keep_freed_memory() -> None:
    """Makes the C library keep the memory of a block of large records for the next block.

    By default, glibc returns it to the system at once and gets it back page by page, which costs
    more than parsing the records. How much it keeps follows the largest allocation, up to 32 MiB,
    that was ever freed; so one of that size is made, untouched, and freed. This has no effect on
    other C libraries.
    """
    np.empty((32 << 20) - (1 << 16), np.uint8)


@dataclasses.dataclass(frozen=True)
class ShardRange:
    """Consecutive records of one shard.

    Attributes:
        shard: Index into `OpenSplit.shards`.
        first: Index of the first record.
        count: Number of records.
        to_end: Whether the range includes the shard's last record.
    """

    shard: int
    first: int
    count: int
    to_end: bool

    @property
    def complete(self) -> bool:
        """Whether the range is the entire shard."""
        return not self.first and self.to_end


@dataclasses.dataclass(frozen=True, eq=False)
class RecordStream:
    """The endless stream of records of a data set, or of a part of it.

    Attributes:
        opened: The split that is read.
        ranges: The records: shards, of which the first and the last may be incomplete.
        order: Order of the records; `order.counts` are the counts of `ranges`.
        wrapped: Whether to return records wrapped; see `wrap`.
    """

    opened: OpenSplit
    ranges: tuple[ShardRange, ...]
    order: ShardOrder
    wrapped: bool

    @without_autograph
    def load(self) -> tf.Tensor:
        """Reads all records, as stored, into memory: string or variant [records]."""
        data = self._read(np.arange(len(self.ranges)), np.int64(0))
        if self.wrapped:
            data = data.map(wrap)
        data = data.apply(tf.data.experimental.assert_cardinality(self.order.records))
        return data.batch(self.order.records, drop_remainder=True).get_single_element()

    def blocks(self, start: int, loaded: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the endless stream of blocks, from a position on.

        Args:
            start: Position of the first record in this stream. Shards and blocks before it are not
                read; the records before it in its own block are read and dropped, unparsed.
            loaded: The result of `load`, to read from memory.

        Returns:
            Elements (records, positions): string or variant [n], and int64 [n].
        """
        if self.wrapped:
            keep_freed_memory()
        order = self.order
        first_epoch, offset = divmod(start, order.records)
        first_block = offset - offset % order.block

        def epoch_blocks(epoch: tf.Tensor) -> tf.data.Dataset:
            is_first = tf.equal(epoch, first_epoch)
            begin = tf.where(is_first, np.int64(first_block), np.int64(0))
            indices = tf.data.Dataset.range(begin, order.records, order.block)
            if loaded is None:
                progress, reader = order.reader_progress(first_epoch, first_block)
                progress = tf.where(is_first, progress, np.zeros_like(progress))
                reader = tf.where(is_first, np.int64(reader), np.int64(0))
                blocks = self._read_epoch(epoch, progress, reader).batch(order.block)
            else:
                reading_order = order.reading_order_tensor(epoch)
                blocks = indices.map(
                    lambda index: tf.gather(loaded, reading_order[index : index + order.block])
                )

            def permuted(index: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                permutation = order.block_permutation_tensor(epoch, index)
                first = epoch * order.records + index
                skipped = tf.maximum(start - first, 0)
                positions = first + tf.range(tf.size(permutation, tf.int64), dtype=tf.int64)
                return tf.gather(block, permutation[skipped:]), positions[skipped:]

            return tf.data.Dataset.zip(indices, blocks).map(permuted)

        return tf.data.Dataset.counter(np.int64(first_epoch)).flat_map(epoch_blocks)

    def _read(self, indices: tf.Tensor, skipped: tf.Tensor) -> tf.data.Dataset:
        """Reads ranges one after another.

        Args:
            indices: Indices of the ranges, int64 [n].
            skipped: Records to skip at the beginning of the first of them, int64 [].
        """
        paths, size = self.opened.paths, self.opened.buffer_bytes
        paths = tf.constant([paths[piece.shard] for piece in self.ranges])
        if all(piece.complete for piece in self.ranges):
            files = tf.gather(paths, indices)
            return tf.data.TFRecordDataset(files, buffer_size=size).skip(skipped)
        firsts = tf.constant([piece.first for piece in self.ranges], tf.int64)
        # Ranges that reach the end of a file are read without a limit, to detect surplus records.
        limits = [-1 if piece.to_end else piece.count for piece in self.ranges]
        limits = tf.constant(limits, tf.int64)

        def read(number: tf.Tensor, index: tf.Tensor) -> tf.data.Dataset:
            dropped = tf.where(number == 0, skipped, np.int64(0))
            limit = limits[index] - tf.where(limits[index] < 0, np.int64(0), dropped)
            records = tf.data.TFRecordDataset(paths[index], buffer_size=size)
            return records.skip(firsts[index] + dropped).take(limit)

        return tf.data.Dataset.from_tensor_slices(indices).enumerate().flat_map(read)

    def _read_epoch(
        self, epoch: tf.Tensor, progress: tf.Tensor, next_reader: tf.Tensor
    ) -> tf.data.Dataset:
        """Reads one epoch in reading order, from the state that `order.reader_progress` returns."""
        order = self.order
        shards_of_readers = order.reader_shards_tensor(epoch)

        def read(reader: tf.Tensor) -> tf.data.Dataset:
            shards = shards_of_readers[reader]
            shards = tf.boolean_mask(shards, shards >= 0)
            ends = tf.cumsum(tf.gather(tf.constant(order.counts, tf.int64), shards))
            finished = tf.reduce_sum(tf.cast(ends <= progress[reader], tf.int64))
            begin = tf.concat([[np.int64(0)], ends], axis=0)[finished]
            records = self._read(shards[finished:], progress[reader] - begin)
            # A shard shorter than the manifest states must not shift the order silently.
            remaining = ends[-1] - progress[reader]
            records = records.apply(tf.data.experimental.assert_cardinality(remaining))
            return records.map(wrap) if self.wrapped else records

        # One thread costs least, unless files are remote or records large.
        parallel = self.opened.remote or self.wrapped
        cycle = tf.data.Dataset.range(next_reader, next_reader + order.readers)
        return cycle.map(lambda number: number % order.readers).interleave(
            read,
            cycle_length=order.readers,
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE if parallel else None,
            deterministic=True if parallel else None,
        )
