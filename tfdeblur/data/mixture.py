"""The endless sequence of stored records: data sets mixed by draws, and divided into parts.

A data set may be divided into *parts* of equal size, which take turns: part `p` of `P` gives the
samples at positions `p`, `P + p`, `2 P + p` and so on. Each part is some consecutive shards, with
an order and epochs of its own. So hosts whose number divides `P` need to read only the files of
their own parts, and the samples at each position stay what they are on one host.

Parts are cut to the record: where a border falls into a shard, both neighbours read that file.
Sizes differ by one record at most, which is what keeps epochs together: after `n` of them an image
has been seen `n` times, and only those within `n` records of the border once more or less.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.reader import Slice, Source, mixed
from tfdeblur.data.shuffle import MIXTURE, ORDER, Mixture, ShardOrder, key_of
from tfdeblur.errors import ConfigError

# Draws what goes with the records at positions int64 [n] of the stream at a path below the seed.
Describe = Callable[[tf.Tensor, tuple[int, ...]], tf.Tensor]

# Raw pixels of a block of records by default; three blocks are in memory at a time.
_BLOCK_BYTES = 24 << 20
_BLOCK_RECORDS = (16, 4096)


def default_shuffle_block(height: int, width: int) -> int:
    """Returns how many records are permuted among each other where nothing else is asked for.

    A power of two whose raw pixels fit in 24 MiB, from 16 to 4096: 4096 for 32x32 pixels, 256 for
    128x96 and 64 for 256x256. It does not depend on the encoding, and so neither does the order.
    """
    least, most = _BLOCK_RECORDS
    fitting = _BLOCK_BYTES // (height * width * 3 * 2)
    return min(most, max(least, 1 << max(fitting, 1).bit_length() - 1))


def divide(counts: Sequence[int], parts: int) -> list[tuple[Slice, ...]]:
    """Cuts shards that follow each other into parts of equal size, to one record.

    Args:
        counts: Records of each shard.
        parts: Number of parts, at most the number of records.

    Returns:
        What of which shards each part holds.
    """
    ends = np.cumsum(counts).tolist()
    borders = [ends[-1] * part // parts for part in range(parts + 1)]
    divided = []
    for begin, end in itertools.pairwise(borders):
        slices = []
        for shard, (count, shard_end) in enumerate(zip(counts, ends, strict=True)):
            shard_begin = shard_end - count
            first, last = max(begin, shard_begin), min(end, shard_end)
            if first < last:
                slices.append(Slice(shard, first - shard_begin, last - first, last == shard_end))
        divided.append(tuple(slices))
    return divided


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The stored records of one or several data sets, in the order of training.

    Attributes:
        opened: The split that is read, of each data set.
        seed: Fixes order and mixture.
        describe: Draws what goes with a record; it gets its position in the stream of its data set
            (and part), and the path of that stream below the seed.
        weights: How often each data set is drawn, in any unit; by its records where not given.
        parts: Parts into which each data set is divided.
        shuffle_block: Records that are permuted among each other, over all parts.
        open_shards: Shards that are read at once, over all parts.
        readers: See `Source`.
        boxes: See `Source`.
        cache: Keep the records in memory; those of a part are read when it is first asked for.
    """

    opened: Sequence[OpenSplit]
    seed: int
    describe: Describe
    weights: Sequence[float] | None = None
    parts: int = 1
    shuffle_block: int | None = None
    open_shards: int = 16
    readers: int | None = None
    boxes: bool = False
    cache: bool = False
    _loaded: dict[int, list[tf.Tensor]] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Raises a ConfigError where weights or parts do not fit the data sets."""
        weights = self.drawn_by
        if len(weights) != len(self.opened) or not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(
                f"weights must be one positive number for each of {len(self.opened)} data sets, "
                f"and are {tuple(weights)}."
            )
        for opened in self.opened:
            if opened.split.records < self.parts:
                raise ConfigError(
                    f"data.parts: {opened.directory} has {opened.split.records} records, which "
                    f"cannot be divided into {self.parts} parts."
                )

    @functools.cached_property
    def drawn_by(self) -> tuple[float, ...]:
        """How often each data set is drawn, in any unit."""
        weights = self.weights
        if weights is None:
            weights = [opened.split.records for opened in self.opened]
        return tuple(float(weight) for weight in weights)

    @functools.cached_property
    def blocks(self) -> list[int]:
        """Records of each data set that are permuted among each other, over all parts."""
        layouts = [opened.split for opened in self.opened]
        return [
            self.shuffle_block or default_shuffle_block(layout.height, layout.width)
            for layout in layouts
        ]

    @functools.cached_property
    def sources(self) -> list[list[Source]]:
        """Whence each part is read: [part][data set]."""
        sources: list[list[Source]] = [[] for _ in range(self.parts)]
        for number, (opened, block) in enumerate(zip(self.opened, self.blocks, strict=True)):
            divided = divide([shard.records for shard in opened.shards], self.parts)
            for part, slices in enumerate(divided):
                path = self._path(number, part)
                order = ShardOrder(
                    counts=tuple(piece.count for piece in slices),
                    key=key_of(self.seed, ORDER, *path),
                    # What is open, and in memory, does not grow with the number of parts.
                    open_shards=math.ceil(self.open_shards / self.parts),
                    block=math.ceil(block / self.parts),
                )
                describe = functools.partial(self._described, path=path)
                sources[part].append(
                    Source(opened, slices, order, self.boxes, self.readers, describe)
                )
        return sources

    def _described(self, positions: tf.Tensor, *, path: tuple[int, ...]) -> tf.Tensor:
        return self.describe(positions, path)

    def _path(self, *numbers: int) -> tuple[int, ...]:
        """Returns the path of a stream below the seed; its last number is the part."""
        return numbers if self.parts > 1 else numbers[:-1]

    def stream(self, start: int, own: Sequence[int] | None = None) -> tf.data.Dataset:
        """Returns the endless stream of records, each with its description.

        Args:
            start: Position of the first record, in the sequence of all parts.
            own: The parts whose records are wanted; all where not given.
        """
        own = range(self.parts) if own is None else own
        # Whoever has the first position from `start` on begins.
        turns = sorted(own, key=lambda part: (part - start) % self.parts)
        streams = [self._part(part, -((part - start) // self.parts)) for part in turns]
        if len(streams) == 1:
            return streams[0]
        return tf.data.Dataset.choose_from_datasets(
            streams, tf.data.Dataset.range(len(streams)).repeat()
        )

    def _part(self, part: int, start: int) -> tf.data.Dataset:
        """Returns the stream of one part, from a position of its own on."""
        sources = self.sources[part]
        loaded = self._load(part) if self.cache else [None] * len(sources)
        mixture = Mixture(self.drawn_by, key_of(self.seed, *self._path(MIXTURE, part)))
        starts = mixture.counts_before(start) if len(sources) > 1 else [start]
        streams = [
            source.stream(begin, records)
            for source, begin, records in zip(sources, starts, loaded, strict=True)
        ]
        return mixed(streams, mixture, start) if len(streams) > 1 else streams[0]

    def _load(self, part: int) -> list[tf.Tensor]:
        if part not in self._loaded:
            with tf.init_scope():
                self._loaded[part] = [source.load() for source in self.sources[part]]
        return self._loaded[part]
