"""The endless sequence of stored records of several data sets, mixed at random.

A data set may be divided into *parts* of equal size, which are interleaved round-robin: part `p` of
`P` holds positions `p`, `P + p`, `2 P + p` and so on. Each part consists of consecutive shards and
has an order and epochs of its own. So hosts whose number divides `P` read the files of their own
parts only, and the sample at each position is the same as on one host.

Parts are divided to the record: where a border falls into a shard, both neighbors read that file.
Their sizes differ by at most one record, which keeps their epochs together: after `n` epochs an
image has been seen `n` times, and only those within `n` records of a border once more or less.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfdeblur.config import DataConfig
from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.record_stream import RecordStream, ShardRange
from tfdeblur.data.shuffle import MIXTURE, ORDER, Mixture, ShardOrder
from tfdeblur.errors import ConfigError
from tfdeblur.ops.devices import host_memory
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.ops.random import key_of

# Raw pixels of a block of records by default; three blocks are in memory at a time.
_BLOCK_BYTES = 24 << 20
_MIN_BLOCK, _MAX_BLOCK = 16, 4096

# Shards of a data set that are read at once, over all parts, so that their scenes mix; the order of
# the samples depends on it.
OPEN_SHARDS = 16

# Records are cached by default if they take at most this share of the host's memory.
CACHED_SHARE = 0.1

# Positions whose data sets are drawn per step.
_CHUNK = 1024


class StreamId(NamedTuple):
    """Names one stream of a mixture: a part of a data set, both by index."""

    part: int
    data_set: int


def default_shuffle_block(height: int, width: int) -> int:
    """Returns the default number of records that are permuted among each other.

    A power of two whose raw pixels fit in 24 MiB, from 16 to 4096: 4096 for 32x32 pixels, 256 for
    128x96 and 64 for 256x256. Neither this number nor the order depends on the encoding.
    """
    fitting = _BLOCK_BYTES // (height * width * 3 * 2)
    return min(_MAX_BLOCK, max(_MIN_BLOCK, 1 << max(fitting, 1).bit_length() - 1))


def divide(counts: Sequence[int], parts: int) -> list[tuple[ShardRange, ...]]:
    """Divides consecutive shards into parts whose sizes differ by at most one record.

    Args:
        counts: Records of each shard.
        parts: Number of parts, at most the number of records.

    Returns:
        The ranges of each part.
    """
    ends = np.cumsum(counts).tolist()
    borders = [ends[-1] * part // parts for part in range(parts + 1)]
    divided = []
    for begin, end in itertools.pairwise(borders):
        ranges = []
        for shard, (count, shard_end) in enumerate(zip(counts, ends, strict=True)):
            shard_begin = shard_end - count
            first, last = max(begin, shard_begin), min(end, shard_end)
            if first < last:
                ranges.append(
                    ShardRange(shard, first - shard_begin, last - first, last == shard_end)
                )
        divided.append(tuple(ranges))
    return divided


@dataclasses.dataclass(frozen=True, eq=False)
class RecordMixture:
    """The stored records of one or several data sets, in training order.

    `blocks` returns one stream of blocks per part and data set; `mix` joins such streams, to whose
    elements the caller may have added something, into one stream of records.

    Attributes:
        opened: The split that is read, of each data set.
        config: Weights, parts, size of blocks, and whether to cache the records, which are loaded
            when their part is first read.
        seed: Seed of order and mixture.
        wrapped: Whether to return records wrapped; see `record_stream.wrap`.
    """

    opened: Sequence[OpenSplit]
    config: DataConfig
    seed: int
    wrapped: bool
    _loaded: dict[StreamId, tf.Tensor] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Raises a ConfigError if weights or parts do not fit the data sets."""
        weights = self.weights
        if len(weights) != len(self.opened) or not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(
                f"data.weights: must be one positive number for each of {len(self.opened)} data "
                f"sets. Received: {weights}."
            )
        for opened in self.opened:
            if opened.split.records < self.config.parts:
                raise ConfigError(
                    f"data.parts: {opened.directory} has {opened.split.records} records, too few "
                    f"for {self.config.parts} parts."
                )

    @functools.cached_property
    def weights(self) -> tuple[float, ...]:
        """How often each data set is drawn, in any unit; by default its number of records."""
        weights = self.config.weights
        if weights is None:
            weights = tuple(opened.split.records for opened in self.opened)
        return tuple(float(weight) for weight in weights)

    @property
    def bytes(self) -> int:
        """Size of all stored records."""
        return sum(shard.bytes for opened in self.opened for shard in opened.shards)

    @functools.cached_property
    def cached(self) -> bool:
        """Whether records are kept in memory; see `DataConfig.cache`."""
        if self.config.cache != "auto":
            return self.config.cache == "on"
        return self.bytes <= CACHED_SHARE * host_memory()

    @functools.cached_property
    def block_sizes(self) -> list[int]:
        """Records of each data set that are permuted among each other, over all parts."""
        return [
            self.config.shuffle_block
            or default_shuffle_block(opened.split.height, opened.split.width)
            for opened in self.opened
        ]

    @functools.cached_property
    def streams(self) -> dict[StreamId, RecordStream]:
        """The records of each part of each data set."""
        parts = self.config.parts
        streams = {}
        for number, (opened, block) in enumerate(zip(self.opened, self.block_sizes, strict=True)):
            divided = divide([shard.records for shard in opened.shards], parts)
            for part, ranges in enumerate(divided):
                stream = StreamId(part, number)
                order = ShardOrder(
                    counts=tuple(piece.count for piece in ranges),
                    key=self.key(ORDER, stream),
                    # Open files and memory do not grow with the number of parts.
                    open_shards=math.ceil(OPEN_SHARDS / parts),
                    block=math.ceil(block / parts),
                )
                streams[stream] = RecordStream(opened, ranges, order, self.wrapped)
        return streams

    def key(self, purpose: int, stream: StreamId) -> int:
        """Returns the key of a stream's draws for a purpose, such as `shuffle.ORDER`."""
        return key_of(self.seed, purpose, stream.data_set, *self._part_index(stream.part))

    def blocks(
        self, start: int, parts: Sequence[int] | None = None
    ) -> dict[StreamId, tf.data.Dataset]:
        """Returns the endless streams of blocks; see `RecordStream.blocks`.

        Args:
            start: Position of the first record, in the sequence of all parts.
            parts: The parts to read; all if None.
        """
        blocks = {}
        for part in range(self.config.parts) if parts is None else parts:
            for number, begin in enumerate(self._starts(part, start)):
                stream = StreamId(part, number)
                loaded = self._load(stream) if self.cached else None
                blocks[stream] = self.streams[stream].blocks(begin, loaded)
        return blocks

    def walk(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Yields what stands at consecutive positions, without TensorFlow.

        Args:
            start: The first position, in the sequence of all parts.
            count: Positions per element.

        Yields:
            int64 [count, 3]: part, data set, and position in the stream of both.
        """
        parts = range(self.config.parts)
        counts = [self._starts(part, start) for part in parts]
        mixtures = [self._mixture(part) for part in parts]
        for first in itertools.count(start, count):
            positions = np.arange(first, first + count)
            found = np.zeros([count, 3], np.int64)
            found[:, 0] = positions % len(parts)
            for part in parts:
                rows = np.flatnonzero(found[:, 0] == part)
                if len(self.opened) > 1 and len(rows):
                    begin = positions[rows[0]] // len(parts)
                    found[rows, 1] = mixtures[part].choices(begin, len(rows))
                for number in range(len(self.opened)):
                    chosen = rows[found[rows, 1] == number]
                    found[chosen, 2] = counts[part][number] + np.arange(len(chosen))
                    counts[part][number] += len(chosen)
            yield found

    def mix(self, streams: Mapping[StreamId, tf.data.Dataset], start: int) -> tf.data.Dataset:
        """Joins streams of records, with elements of one structure, in training order.

        Args:
            streams: The unbatched streams of some parts of all data sets.
            start: Position of the first record, in the sequence of all parts.
        """
        parts = sorted({stream.part for stream in streams})
        # The part of the first position from `start` on comes first.
        parts.sort(key=lambda part: (part - start) % self.config.parts)
        mixed = [self._mixed(streams, part, start) for part in parts]
        if len(mixed) == 1:
            return mixed[0]
        return tf.data.Dataset.choose_from_datasets(
            mixed, tf.data.Dataset.range(len(mixed)).repeat()
        )

    def _mixed(
        self, streams: Mapping[StreamId, tf.data.Dataset], part: int, start: int
    ) -> tf.data.Dataset:
        """Joins the streams of all data sets of one part."""
        of_part = [streams[StreamId(part, number)] for number in range(len(self.opened))]
        if len(of_part) == 1:
            return of_part[0]
        mixture = self._mixture(part)

        def choices(first: tf.Tensor) -> tf.Tensor:
            return mixture.choices_tensor(tf.range(first, first + _CHUNK, dtype=tf.int64))

        firsts = tf.data.Dataset.counter(np.int64(self._part_start(part, start)), np.int64(_CHUNK))
        return tf.data.Dataset.choose_from_datasets(of_part, firsts.map(choices).unbatch())

    def _part_start(self, part: int, start: int) -> int:
        """Returns how many positions below `start` belong to a part."""
        return -((part - start) // self.config.parts)

    def _starts(self, part: int, start: int) -> list[int]:
        """Returns where each data set's stream of a part begins."""
        begin = self._part_start(part, start)
        return self._mixture(part).counts_before(begin) if len(self.opened) > 1 else [begin]

    def _mixture(self, part: int) -> Mixture:
        return Mixture(self.weights, key_of(self.seed, MIXTURE, *self._part_index(part)))

    def _part_index(self, part: int) -> tuple[int, ...]:
        """Returns the index of a part in keys; none without parts, as in versions without them."""
        return (part,) if self.config.parts > 1 else ()

    def _load(self, stream: StreamId) -> tf.Tensor:
        if stream not in self._loaded:
            with tf.init_scope():
                self._loaded[stream] = self.streams[stream].load()
        return self._loaded[stream]
