"""Sets that fit in memory, read, augmented and batched without TensorFlow.

The samples are those of `pipeline.TrainingData.dataset`, bit for bit and in the same order: order,
mixture and augmentation are counter-based draws, which NumPy computes as well.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

from tfdeblur.data import schema, tfrecord
from tfdeblur.data.augment import Augmentation
from tfdeblur.data.dataset import OpenSplit
from tfdeblur.data.mixture import CACHED_SHARE, RecordMixture, StreamId
from tfdeblur.data.shuffle import AUGMENTATION
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.ops.devices import host_memory

HALVES = ("blurred", "sharp")

Arrays: TypeAlias = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Batches of arrays, with what evaluation uses of the interface of `tf.data.Dataset`.

    Attributes:
        read: Returns the batches from the first one on.
        shape: Batch size, height and width of the images.
        batches: Number of batches.
    """

    read: Callable[[], Iterator[Arrays]]
    shape: tuple[int, int, int]
    batches: int

    @property
    def element_spec(self) -> Arrays:
        """Arrays of the shape and the dtype of the images, which take no memory."""
        spec = np.broadcast_to(np.uint8(0), (*self.shape, 3))
        return dict.fromkeys(HALVES, spec)

    def cardinality(self) -> int:
        """Returns the number of batches."""
        return self.batches

    def __iter__(self) -> Iterator[Arrays]:
        """Returns the batches from the first one on."""
        return self.read()


def stored_records(
    opened: OpenSplit, shards: Sequence[int] | None = None
) -> Iterator[schema.Record]:
    """Yields the records of a split in file order.

    Args:
        opened: The split, of images of one size.
        shards: Indices into `OpenSplit.shards`; all if unset.

    Raises:
        DataError: A shard is damaged, or has another number of records than the manifest states.
    """
    split = opened.split
    for number in range(len(opened.paths)) if shards is None else shards:
        path, index = opened.paths[number], 0
        try:
            with files.open_read(path) as file:
                for data in tfrecord.read_records(file):
                    yield schema.decode_record(data, split.height, split.width, split.encoding)
                    index += 1
            if index != (count := opened.shards[number].records):
                raise DataError(f"it has {index} records instead of {count}")
        except DataError as error:
            raise DataError(
                f"{path} is damaged at record {index}: {str(error).rstrip('.')}. Copy it again, or "
                f"delete it and repeat the command that built {opened.directory}."
            ) from error


class MemoryReader:
    """Holds the pixels of all records that a process reads.

    Args:
        mixture: The records and their order.
        augmentation: Crops and orients samples.
        slacks: Rows and columns by which the images of each data set exceed a sample.
        size: Height and width of a sample.

    Raises:
        UserError: The pixels take more memory than `data.cache` allows.
    """

    def __init__(
        self,
        mixture: RecordMixture,
        augmentation: Augmentation,
        slacks: Sequence[tuple[int, int]],
        size: tuple[int, int],
    ) -> None:
        self._mixture = mixture
        self._augmentation = augmentation
        self._slacks = slacks
        self._size = size
        self._loaded: dict[StreamId, Arrays] = {}
        self._order = functools.lru_cache(maxsize=2 * len(mixture.streams))(self._order_of)
        splits = [opened.split for opened in mixture.opened]
        pixels = sum(2 * 3 * split.records * split.height * split.width for split in splits)
        limit = CACHED_SHARE * host_memory()
        cache = mixture.config.cache
        if cache == "off" or (cache == "auto" and pixels > limit):
            raise UserError(
                f"data.cache: {cache}, and the images of {', '.join(mixture.config.paths)} take "
                f"{pixels / 2**20:,.0f} MiB; 'auto' keeps up to {limit / 2**20:,.0f} MiB in memory "
                "on this machine. Without TensorFlow, training reads from memory only: pip install "
                '"tfdeblur[cpu]", or give --data.cache on.'
            )

    def batches(
        self,
        start: int,
        count: int,
        rows: slice = slice(None),
        parts: Sequence[int] | None = None,
    ) -> Iterator[Arrays]:
        """Yields the samples from a position on.

        Args:
            start: Position of the first sample.
            count: Positions of one batch, over all processes.
            rows: The positions of this process in each batch.
            parts: The parts of the data sets that this process reads; all if unset.

        Yields:
            ``blurred`` and ``sharp``, uint8 [n, height, width, 3].
        """
        for places in self._mixture.walk(start, count):
            own = places[rows]
            if parts is not None:
                own = own[np.isin(own[:, 0], parts)]
            yield self._samples(own)

    def _samples(self, places: np.ndarray) -> Arrays:
        """Returns the samples at positions of streams, int64 [n, 3]; see `RecordMixture.walk`."""
        found = {half: np.empty([len(places), *self._size, 3], np.uint8) for half in HALVES}
        for part, data_set in np.unique(places[:, :2], axis=0).tolist():
            stream = StreamId(part, data_set)
            chosen = (places[:, :2] == (part, data_set)).all(axis=1)
            positions = places[chosen, 2]
            length = self._mixture.streams[stream].order.records
            records = [self._order(stream, at // length)[at % length] for at in positions.tolist()]
            key = self._mixture.key(AUGMENTATION, stream)
            placements = self._augmentation.draw_array(key, positions, self._slacks[data_set])
            for half, images in self._load(stream).items():
                pairs = images[np.array(records)]
                found[half][chosen] = self._augmentation.place_array(pairs, placements, self._size)
        return found

    def _order_of(self, stream: StreamId, epoch: int) -> np.ndarray:
        return self._mixture.streams[stream].order.epoch(epoch)

    def _load(self, stream: StreamId) -> Arrays:
        """Returns the images of a stream, uint8 [records, h, w, 3] each."""
        if stream not in self._loaded:
            source = self._mixture.streams[stream]
            split = source.opened.split
            shape = [source.order.records, split.height, split.width, 3]
            images = {half: np.empty(shape, np.uint8) for half in HALVES}
            row = 0
            for piece in source.ranges:
                records = stored_records(source.opened, [piece.shard])
                last = None if piece.to_end else piece.first + piece.count
                for record in itertools.islice(records, piece.first, last):
                    for half in HALVES:
                        images[half][row] = getattr(record, half)
                    row += 1
            self._loaded[stream] = images
            taken: Any = sum(array.nbytes for array in images.values()) / 2**20
            tqdm.write(f"{row:,} records ({taken:,.1f} MiB) are kept in memory as pixels.")
        return self._loaded[stream]
