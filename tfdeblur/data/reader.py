"""Streams of stored records in the computed order, from shards or from memory.

The order asks for records to be permuted within blocks, and copying records of several hundred
kilobytes for that costs more than parsing them. So a large record is put into a *box* as soon as
it is read: a tensor list of one element, which is a reference and costs nothing to move.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.shuffle import Mixture, ShardOrder

# Smaller records are cheaper to copy than to box.
BOXED_BYTES = 1 << 15

# Positions whose data sets are drawn at once.
_CHOSEN_AT_ONCE = 1024


def boxed(record: tf.Tensor) -> tf.Tensor:
    """Puts a string [] into a box: variant []."""
    no_shape = tf.constant([], tf.int32)
    box = tf.raw_ops.EmptyTensorList(
        element_shape=no_shape, max_num_elements=1, element_dtype=tf.string
    )
    return tf.raw_ops.TensorListPushBack(input_handle=box, tensor=record)


def unboxed(box: tf.Tensor) -> tf.Tensor:
    """Takes the string [] out of its box again; a string is passed through."""
    if box.dtype == tf.string:
        return box
    no_shape = tf.constant([], tf.int32)
    record = tf.raw_ops.TensorListGetItem(
        input_handle=box, index=0, element_shape=no_shape, element_dtype=tf.string
    )
    return tf.ensure_shape(record, [])


def keep_freed_memory() -> None:
    """Makes the C library keep what a block of large records frees, for the next block.

    Left alone, glibc gives the memory back at once and gets it again page by page, which costs more
    than parsing the records. It learns how much to keep from the largest piece, up to 32 MiB, that
    was ever freed; so one such piece is taken, untouched, and freed. Other C libraries do not mind.
    """
    np.empty((32 << 20) - (1 << 16), np.uint8)


@dataclasses.dataclass(frozen=True)
class Slice:
    """Consecutive records of one shard.

    Attributes:
        shard: Which one of `OpenSplit.shards`.
        first: The first record.
        count: Number of records.
        to_end: Whether the last of them is the shard's last one.
    """

    shard: int
    first: int
    count: int
    to_end: bool

    @property
    def whole(self) -> bool:
        """Whether this is all of the shard."""
        return not self.first and self.to_end


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One data set to read from, or a part of it, and how.

    Attributes:
        opened: The split that is read.
        slices: What is read of it: shards, and at both ends perhaps some records of one.
        order: The order of these records; `order.counts` are those of the slices.
        boxes: Give boxes instead of strings.
        readers: Shards that are read in parallel; None leaves the number to TensorFlow where
            files are remote or records are large, and else takes one, which costs least.
        describe: Draws whatever else an element shall carry: positions int64 [n] -> tensor [n, ..].
    """

    opened: OpenSplit
    slices: tuple[Slice, ...]
    order: ShardOrder
    boxes: bool
    readers: int | None
    describe: Callable[[tf.Tensor], tf.Tensor]

    def load(self) -> tf.Tensor:
        """Reads all records into memory, as they are stored: string or variant [records]."""
        data = self._read(np.arange(len(self.slices)), np.int64(0))
        if self.boxes:
            data = data.map(boxed)
        data = data.apply(tf.data.experimental.assert_cardinality(self.order.records))
        return data.batch(self.order.records, drop_remainder=True).get_single_element()

    def stream(self, start: int, loaded: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the endless stream of this data set's records.

        Args:
            start: Position of the first record, as a count of this data set's records. Shards and
                blocks before it are not read; of the block that holds it, the records before it
                are read and dropped, but not parsed.
            loaded: What `load` returned, to read from memory.

        Returns:
            Elements (record, description): string [] or variant [], and one row of `describe`.
        """
        if self.boxes:
            keep_freed_memory()
        order = self.order
        first_epoch, offset = divmod(start, order.records)
        first_place = offset - offset % order.block

        def epoch_blocks(epoch: tf.Tensor) -> tf.data.Dataset:
            is_first = tf.equal(epoch, first_epoch)
            place = tf.where(is_first, np.int64(first_place), np.int64(0))
            places = tf.data.Dataset.range(place, order.records, order.block)
            if loaded is None:
                begun, turn = order.lane_progress(first_epoch, first_place)
                progress = tf.where(is_first, begun, np.zeros_like(begun))
                turn = tf.where(is_first, np.int64(turn), np.int64(0))
                blocks = self._epoch_records(epoch, progress, turn).batch(order.block)
            else:
                numbers = order.reading_order_tensor(epoch)
                blocks = places.map(
                    lambda place: tf.gather(loaded, numbers[place : place + order.block])
                )

            def permuted(place: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                permutation = order.block_tensor(epoch, place)
                begin = epoch * order.records + place
                skipped = tf.maximum(start - begin, 0)
                positions = begin + tf.range(tf.size(permutation, tf.int64), dtype=tf.int64)
                return tf.gather(block, permutation[skipped:]), self.describe(positions[skipped:])

            return tf.data.Dataset.zip(places, blocks).map(permuted)

        epochs = tf.data.Dataset.counter(np.int64(first_epoch))
        return epochs.flat_map(epoch_blocks).prefetch(1).unbatch()

    def _read(self, numbers: tf.Tensor, skipped: tf.Tensor) -> tf.data.Dataset:
        """Reads slices one after another.

        Args:
            numbers: Which slices, int64 [n].
            skipped: How many records to leave out at the beginning of the first, int64 [].
        """
        paths, size = self.opened.paths, self.opened.buffer_bytes
        paths = tf.constant([paths[piece.shard] for piece in self.slices])
        if all(piece.whole for piece in self.slices):
            files = tf.gather(paths, numbers)
            return tf.data.TFRecordDataset(files, buffer_size=size).skip(skipped)
        firsts = tf.constant([piece.first for piece in self.slices], tf.int64)
        # What reaches the end of its file is read to the end, so that surplus records are noticed.
        limits = [-1 if piece.to_end else piece.count for piece in self.slices]
        limits = tf.constant(limits, tf.int64)

        def read(place: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
            left_out = tf.where(place == 0, skipped, np.int64(0))
            limit = limits[number] - tf.where(limits[number] < 0, np.int64(0), left_out)
            records = tf.data.TFRecordDataset(paths[number], buffer_size=size)
            return records.skip(firsts[number] + left_out).take(limit)

        return tf.data.Dataset.from_tensor_slices(numbers).enumerate().flat_map(read)

    def _epoch_records(
        self, epoch: tf.Tensor, progress: tf.Tensor, turn: tf.Tensor
    ) -> tf.data.Dataset:
        """Reads one epoch in reading order, from where `order.lane_progress` says it stands."""
        order, opened = self.order, self.opened
        shards_of_lanes = order.lane_shards_tensor(epoch)

        def lane(number: tf.Tensor) -> tf.data.Dataset:
            shards = shards_of_lanes[number]
            shards = tf.boolean_mask(shards, shards >= 0)
            ends = tf.cumsum(tf.gather(tf.constant(order.counts, tf.int64), shards))
            behind = tf.reduce_sum(tf.cast(ends <= progress[number], tf.int64))
            before = tf.concat([[np.int64(0)], ends], axis=0)[behind]
            records = self._read(shards[behind:], progress[number] - before)
            # A shard that is shorter than the manifest says must not shift the order in silence.
            left = ends[-1] - progress[number]
            records = records.apply(tf.data.experimental.assert_cardinality(left))
            return records.map(boxed) if self.boxes else records

        parallel = min(self.readers or 1, order.lanes)
        if self.readers is None and (opened.remote or self.boxes):
            parallel = tf.data.AUTOTUNE
        lanes = tf.data.Dataset.range(turn, turn + order.lanes).map(lambda n: n % order.lanes)
        return lanes.interleave(
            lane,
            cycle_length=order.lanes,
            block_length=1,
            num_parallel_calls=None if parallel == 1 else parallel,
            deterministic=None if parallel == 1 else True,
        )


def mixed(streams: list[tf.data.Dataset], mixture: Mixture, start: int) -> tf.data.Dataset:
    """Merges the streams of several data sets, each of which stands at its own place.

    Args:
        streams: The stream of each data set, all with elements of one structure.
        mixture: Which data set gives the sample at a position.
        start: Position of the first sample.
    """

    def chosen(first: tf.Tensor) -> tf.Tensor:
        return mixture.choices_tensor(tf.range(first, first + _CHOSEN_AT_ONCE, dtype=tf.int64))

    choices = tf.data.Dataset.counter(np.int64(start), np.int64(_CHOSEN_AT_ONCE)).map(chosen)
    return tf.data.Dataset.choose_from_datasets(streams, choices.unbatch())
