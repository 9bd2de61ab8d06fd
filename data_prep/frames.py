"""Turns frames into encoded tiles, and plans into shards.

This is the work that runners distribute over processes and machines. It needs no TensorFlow for
local files, so workers start in a fraction of a second and use little memory.
"""

import dataclasses
import functools
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep import images, journal
from data_prep.blur import item_rng
from data_prep.faults import Fault
from data_prep.plan import Settings, ShardPlan, boxes, frame_size
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Source
from tfdeblur.data import tfrecord
from tfdeblur.data.schema import Record, encode_record
from tfdeblur.errors import DataError
from tfdeblur.io import files


def kept_source(name: str, options: Any) -> Source:
    """Builds a source from its options; a process keeps the last one, for its next frame."""
    # Pickled, since options with shares of several kinds of blur are not hashable.
    return _kept(name, pickle.dumps(options))


@functools.lru_cache(maxsize=1)
def _kept(name: str, pickled: bytes) -> Source:
    source: Source = REGISTRY.load(name).build(pickle.loads(pickled))
    return source


def load(source: Source, item: Item) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns the halves of a frame; see `Source.load`.

    Raises:
        DataError: A half is unreadable, or its size differs from the listing.
    """
    blurred, sharp = source.load(item)
    for half, path in ((blurred, item.blurred), (sharp, item.sharp)):
        if half is not None and half.shape != (item.height, item.width, 3):
            raise DataError(
                f"{path or item.key} is {half.shape[1]}x{half.shape[0]}, but was listed as "
                f"{item.width}x{item.height}. Run the command again if the files have changed."
            )
    return blurred, sharp


def frame_tiles(source: Source, item: Item, plan: ShardPlan, settings: Settings) -> Iterator[bytes]:
    """Yields the tiles of one frame as records: loads, resizes, blurs, cuts and encodes it.

    Raises:
        DataError: A half is unreadable, or its size differs from the listing.
    """
    blurred, sharp = load(source, item)
    size = frame_size(item, settings)
    sharp = images.resize(sharp, size)
    if blurred is not None:
        blurred = images.resize(blurred, size)
    else:
        # After resizing, since blur is specified in pixels of the stored images.
        assert source.blur is not None
        blurred = source.blur.apply(sharp, item_rng(settings.seed, item.key))
    for box in boxes(size, plan.tile, plan.stride):
        halves = (blurred[box.slices], sharp[box.slices])
        record = Record(*halves, item.scene, item.frame, box.top, box.left, *size)
        yield encode_record(record, settings.encoding)


def shard_tiles(source: Source, plan: ShardPlan, settings: Settings) -> Iterator[bytes]:
    """Yields the tiles of a shard in the order in which they are stored.

    A frame is loaded when its first tile is due, and only tiles that are still due are kept in
    memory: at most those of the whole shard, none for untiled frames.
    """
    order = [
        (number, place)
        for number, item in enumerate(plan.items)
        for place in range(len(boxes(frame_size(item, settings), plan.tile, plan.stride)))
    ]
    if plan.shuffled:
        permutation = item_rng(settings.seed, plan.file).permutation(len(order))
        order = [order[place] for place in permutation]
    held: dict[int, list[bytes | None]] = {}
    for number, place in order:
        if number not in held:
            held[number] = list(frame_tiles(source, plan.items[number], plan, settings))
        tile = held[number][place]
        held[number][place] = None
        assert tile is not None
        yield tile


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to make any shard of a build; picklable.

    Attributes:
        source: Name of the source.
        options: The source's own `Options`.
        settings: How its frames are processed.
        directory: Folder of the data set.
    """

    source: str
    options: Any
    settings: Settings
    directory: str

    def build_source(self) -> Source:
        """Builds the source from its options; a worker uses one for all its shards."""
        source: Source = REGISTRY.load(self.source).build(self.options)
        return source

    def fault_of(self, item: Item) -> Fault | None:
        """Returns why a frame cannot be loaded, if so."""
        try:
            load(kept_source(self.source, self.options), item)
        except Fault as fault:
            return fault
        except DataError as error:
            return Fault("unreadable", item.sharp or item.key, str(error))
        return None

    def make_shard(self, source: Source, plan: ShardPlan) -> tfrecord.Shard:
        """Writes one shard and enters it in the journal; see `write_shard`."""
        shard = self.write_shard(source, plan)
        journal.enter(self.directory, shard)
        return shard

    def write_shard(
        self, source: Source, plan: ShardPlan, expected: tfrecord.Shard | None = None
    ) -> tfrecord.Shard:
        """Writes one shard.

        Its bytes depend only on the source's options, the settings and the plan, so writing it
        twice or in two places at once is harmless.

        Args:
            source: The source of the frames.
            plan: The shard.
            expected: If set, the shard is written only if it has this SHA-256.

        Raises:
            DataError: A frame is unreadable or differs from the listing, or the SHA-256 differs.
            UserError: The file cannot be written; no partial file remains.
        """
        with files.open_new(files.join(self.directory, plan.file), fsync=True) as file:
            writer = tfrecord.ShardWriter(file)
            for tile in shard_tiles(source, plan, self.settings):
                writer.write(tile)
            shard = writer.shard(plan.file)
            if expected is not None and shard.sha256 != expected.sha256:
                raise DataError(
                    f"{plan.file} was rebuilt with another SHA-256 than in the manifest: images of "
                    "the source have changed, or another version of a library encodes them."
                )
        return shard
