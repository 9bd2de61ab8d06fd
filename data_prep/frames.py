"""From one frame to its encoded tiles, and from a plan to a whole shard in its place.

This is the work that runners spread over processes and machines. For local files it needs no
TensorFlow, so a worker starts in a fraction of a second and takes little memory.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from data_prep import images, journal
from data_prep.blur import item_rng
from data_prep.plan import Settings, ShardPlan, boxes, frame_size
from data_prep.sources import REGISTRY
from data_prep.sources.source import Item, Source
from tfdeblur.data import tfrecord
from tfdeblur.data.encoding import encode_image
from tfdeblur.errors import DataError
from tfdeblur.io import files


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to make any shard of a build; it crosses process borders.

    Attributes:
        source: Name of the source.
        options: The source's own `Options`.
        settings: What is done with its frames.
    """

    source: str
    options: Any
    settings: Settings

    def build_source(self) -> Source:
        """Builds the source from its options."""
        source: Source = REGISTRY.load(self.source).build(self.options)
        return source


@dataclasses.dataclass(frozen=True)
class EncodedTile:
    """One record with its images encoded; the fields are the arguments of `wire.record_pieces`."""

    blurred: bytes
    sharp: bytes
    scene: str
    frame: str
    top: int
    left: int
    source_height: int
    source_width: int


def frame_tiles(
    source: Source, item: Item, plan: ShardPlan, settings: Settings
) -> Iterator[EncodedTile]:
    """Yields the tiles of one frame: load, resize, blur where needed, cut, encode.

    Raises:
        DataError: A half cannot be read, or is not of the size that the listing gave.
    """
    blurred, sharp = source.load(item)
    for half, where in ((blurred, item.blurred), (sharp, item.sharp)):
        if half is not None and half.shape != (item.height, item.width, 3):
            raise DataError(
                f"{where or item.key} is {half.shape[1]}x{half.shape[0]}, but was listed as "
                f"{item.width}x{item.height}. Run the command again if the files have changed."
            )
    size = frame_size(item, settings)
    sharp = images.resize(sharp, size.width, size.height)
    if blurred is not None:
        blurred = images.resize(blurred, size.width, size.height)
    else:
        # After the resize, so that the blur is drawn in pixels of the stored pictures.
        assert source.blur is not None
        blurred = source.blur.apply(sharp, item_rng(settings.seed, item.key))
    for box in boxes(size, plan.tile, plan.stride):
        yield EncodedTile(
            blurred=encode_image(blurred[box.slices], settings.encoding),
            sharp=encode_image(sharp[box.slices], settings.encoding),
            scene=item.scene,
            frame=item.frame,
            top=box.top,
            left=box.left,
            source_height=size.height,
            source_width=size.width,
        )


def shard_tiles(source: Source, plan: ShardPlan, settings: Settings) -> Iterator[EncodedTile]:
    """Yields the tiles of a shard in the order in which they are stored.

    A frame is loaded when the first of its tiles is due, and only tiles that are not due yet are
    held: those of the whole shard at most, and none where frames are kept whole.
    """
    home = [
        (number, place)
        for number, item in enumerate(plan.items)
        for place in range(len(boxes(frame_size(item, settings), plan.tile, plan.stride)))
    ]
    if plan.shuffled:
        order = item_rng(settings.seed, plan.file).permutation(len(home))
        home = [home[place] for place in order]
    held: dict[int, list[EncodedTile | None]] = {}
    for number, place in home:
        if number not in held:
            held[number] = list(frame_tiles(source, plan.items[number], plan, settings))
        tile = held[number][place]
        held[number][place] = None
        assert tile is not None
        yield tile


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker is told once: what shards are made from, and where they go.

    Attributes:
        job: The source and the settings.
        directory: Folder of the data set.
    """

    job: Job
    directory: str

    def make_shard(self, source: Source, plan: ShardPlan) -> tfrecord.Shard:
        """Makes one shard, puts it in its place and enters it in the journal.

        Its bytes follow from the source's options, the settings and the plan alone, so making it
        twice, or in two places at once, does no harm.

        Args:
            source: What `job.build_source` returns; a worker builds one for all its shards.
            plan: The shard.

        Raises:
            DataError: A frame cannot be read, or is not as it was listed.
            UserError: The shard cannot be written; nothing of it is left behind.
        """
        place = files.join(self.directory, plan.file)
        with files.open_new(place, lasting=True) as file:
            writer = tfrecord.ShardWriter(file)
            for tile in shard_tiles(source, plan, self.job.settings):
                writer.write(tfrecord.record_pieces(**vars(tile)))
        shard = writer.shard(plan.file)
        journal.enter(self.directory, shard)
        return shard
