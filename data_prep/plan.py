"""From a listing of frames to a plan of shards: which frames, what tiles, what order.

The plan follows from the listing and the settings alone, and it is made before any pixel is read.
So shard i is the same whoever makes it, and whenever.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from data_prep.blur import item_rng
from data_prep.sources.source import Item, Listing
from tfdeblur.errors import DataError
from tfdeblur.ops import tiling

T = TypeVar("T")

# Images of a training shard are held in memory while it is made, to be shuffled.
SHARD_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class Size:
    """Width and height in pixels, written ``WIDTHxHEIGHT`` as the papers do."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Reads ``128x96``; a single number is a square.

        Raises:
            ValueError: The text is no such size.
        """
        match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
        if match:
            width, height = int(match[1]), int(match[2] or match[1])
            if width > 0 and height > 0:
                return cls(width, height)
        raise ValueError(f"{text!r} is not a size; write WIDTHxHEIGHT in pixels, such as 128x96")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is done with the frames of any source.

    Attributes:
        encoding: How pixels are stored, `png` or `raw`.
        seed: Seeds the order of training records and the blur of each picture.
        resize: Size that frames are reduced to before anything else; None keeps theirs.
        tile: Tiles of the train and val splits; None keeps whole frames.
        stride: Distance between training tiles; None lays them side by side.
        test_tile: Tiles of the test split; None keeps whole frames.
        fraction: Share of the training frames that is used.
        limit: Most frames of any split; None has no limit.
    """

    encoding: Literal["png", "raw"] = "png"
    seed: int = 0
    resize: Size | None = None
    tile: Size | None = None
    stride: Size | None = None
    test_tile: Size | None = None
    fraction: float = 1.0
    limit: int | None = None

    def tiling_of(self, split: str) -> tuple[Size | None, Size | None]:
        """Returns the tile (None: the whole frame) and the stride of a split."""
        if split == "test":
            return self.test_tile, self.test_tile
        # Overlapping tiles would count some pixels of the validation twice.
        return self.tile, (self.stride if split == "train" else None) or self.tile


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to be made.

    Attributes:
        file: Its name.
        items: Its frames, in order.
        records: How many tiles they give.
        tile: Size of its images.
        stride: Distance between tiles.
        shuffled: Whether the tiles are put in a random order, as training wants them.
    """

    file: str
    items: tuple[Item, ...]
    records: int
    tile: Size
    stride: Size
    shuffled: bool


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """One split: the size of its images, its scenes and its shards."""

    tile: Size
    scenes: tuple[str, ...]
    shards: tuple[ShardPlan, ...]

    @property
    def records(self) -> int:
        """Number of records in all shards."""
        return sum(shard.records for shard in self.shards)


def frame_size(item: Item, settings: Settings) -> Size:
    """Returns the size of a frame after any resizing."""
    return settings.resize or Size(item.width, item.height)


def boxes(frame: Size, tile: Size, stride: Size) -> list[tiling.Box]:
    """Returns the tiles of one frame: whole ones on the grid."""
    return tiling.grid(
        frame.height, frame.width, tile.height, tile.width, stride.height, stride.width, False
    )


def thin(items: Sequence[T], count: int) -> Sequence[T]:
    """Returns `count` of the items, evenly spread over them, in their order."""
    if count >= len(items):
        return items
    return [items[place * len(items) // count] for place in range(count)]


def make_plan(listing: Listing, settings: Settings) -> dict[str, SplitPlan]:
    """Plans the shards of all splits that have frames.

    Raises:
        DataError: A tile is larger than its frame, frames that are kept whole differ in size, a
            scene is in two splits, or there is nothing to build.
    """
    _check_scenes(listing)
    plans = {}
    for split, all_items in listing.splits.items():
        items: Sequence[Item] = all_items
        if split == "train":
            items = thin(items, max(1, round(len(items) * settings.fraction)))
        if settings.limit is not None:
            items = thin(items, settings.limit)
        if items:
            plans[split] = _plan_split(split, items, settings)
    if not plans:
        raise DataError("The source has no frames: there is nothing to build.")
    return plans


def _check_scenes(listing: Listing) -> None:
    home: dict[str, str] = {}
    seen: set[str] = set()
    for split, items in listing.splits.items():
        for item in items:
            other = home.setdefault(item.scene, split)
            if other != split:
                raise DataError(
                    f"Scene {item.scene!r} is in both {other} and {split}: a network would be "
                    "judged on scenes that it has trained on. Remove it from one of them."
                )
            if item.key in seen:
                raise DataError(f"Frame {item.key!r} is listed twice; names must differ.")
            seen.add(item.key)


def _plan_split(split: str, items: Sequence[Item], settings: Settings) -> SplitPlan:
    # The size parser above serves the command line, which does not wait for TensorFlow.
    from tfdeblur.data.schema import shard_name

    tile, stride = settings.tiling_of(split)
    if tile is None:
        tile = stride = _common_size(split, items, settings)
    assert stride is not None
    counts = {}
    for size in {frame_size(item, settings) for item in items}:
        if tile.width > size.width or tile.height > size.height:
            item = next(item for item in items if frame_size(item, settings) == size)
            raise DataError(
                f"A tile of {tile} does not fit in {item.sharp or item.key}, which is {size}"
                f"{' after resizing' if settings.resize else ''}. Give a smaller --tile."
            )
        counts[size] = len(boxes(size, tile, stride))
    tiles = [counts[frame_size(item, settings)] for item in items]

    order = np.arange(len(items))
    if split == "train":
        # Neighboring frames look alike. Spreading them over the shards lets a reader that
        # shuffles only within a few of them still see the whole set.
        order = item_rng(settings.seed, "order of train").permutation(len(items))
    pixels = sum(tiles) * tile.width * tile.height
    count = min(len(items), math.ceil(2 * 3 * pixels / SHARD_BYTES))
    shards = []
    for index in range(count):
        chosen = order[index * len(items) // count : (index + 1) * len(items) // count]
        shards.append(
            ShardPlan(
                file=shard_name(split, index, count),
                items=tuple(items[place] for place in chosen),
                records=sum(tiles[place] for place in chosen),
                tile=tile,
                stride=stride,
                shuffled=split == "train",
            )
        )
    scenes = tuple(sorted({item.scene for item in items}))
    return SplitPlan(tile, scenes, tuple(shards))


def _common_size(split: str, items: Sequence[Item], settings: Settings) -> Size:
    first = frame_size(items[0], settings)
    for item in items:
        size = frame_size(item, settings)
        if size != first:
            flag = "--test-tile" if split == "test" else "--tile"
            raise DataError(
                f"Without {flag} the frames of a split are kept whole and must agree in size, but "
                f"{items[0].sharp or items[0].key} is {first} and {item.sharp or item.key} is "
                f"{size}. Give {flag} or --resize."
            )
    return first


def fingerprint(source: str, options: Mapping[str, Any], plans: Mapping[str, SplitPlan]) -> str:
    """Returns a digest of all that determines the shards.

    Two builds with equal digests make equal shards as long as the pictures behind the listing
    stay the same. Where the source lies does not count: it may be moved between two runs.
    """
    frames = [
        [split, shard.file, [[item.key, item.width, item.height] for item in shard.items]]
        for split, plan in sorted(plans.items())
        for shard in plan.shards
    ]
    content = json.dumps([source, comparable(options), frames], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that the records depend on: all but the place of the source."""
    return {name: value for name, value in options.items() if name != "source"}
