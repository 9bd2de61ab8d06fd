"""Plans the shards of a build: which frames, which tiles, in which order.

The plan depends on the listing and the settings alone and is made before any pixel is read, so a
shard has the same bytes on every machine and in every run.

Sizes are (height, width) tuples; in text they are ``WIDTHxHEIGHT``, as in the papers.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from data_prep.blur import item_rng
from data_prep.sources.source import Item, Listing
from tfdeblur.config import fields
from tfdeblur.data.schema import shard_name
from tfdeblur.errors import DataError
from tfdeblur.ops import tiling

T = TypeVar("T")

# A training shard is held in memory to be shuffled.
SHARD_BYTES = 32 << 20


def size_text(size: tuple[int, int]) -> str:
    """Returns a (height, width) as ``WIDTHxHEIGHT``."""
    height, width = size
    return f"{width}x{height}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How the frames of any source are processed."""

    encoding: Literal["png", "raw"] = "png"
    """pixel encoding; raw is larger and faster"""
    resize: fields.Size | None = None
    """resize frames to this size first, such as 512x288"""
    tile: fields.Size | None = None
    """cut train and val into tiles of this size, such as 128x96"""
    stride: fields.Size | None = None
    """distance between training tiles; default: the tile size"""
    test_tile: fields.Size | None = None
    """tile size of the test split; default: whole frames"""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """fraction of the training frames, evenly spaced"""
    limit: Annotated[int | None, Field(gt=0)] = None
    """maximum frames per split, evenly spaced"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seeds the blur of each image and the training order"""

    def tiling_of(self, split: str) -> tuple[fields.Size | None, fields.Size | None]:
        """Returns the tile size (None for whole frames) and the stride of a split."""
        if split == "test":
            return self.test_tile, self.test_tile
        # Overlapping validation tiles would count some pixels twice.
        return self.tile, (self.stride if split == "train" else None) or self.tile


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """The content of one shard.

    Attributes:
        file: File name.
        items: Its frames, in order.
        records: Number of tiles cut from them.
        tile: Size of its images.
        stride: Distance between tiles.
        shuffled: Whether its tiles are shuffled, as in the train split.
    """

    file: str
    items: tuple[Item, ...]
    records: int
    tile: fields.Size
    stride: fields.Size
    shuffled: bool


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """The image size, scenes and shards of one split.

    Attributes:
        tile: Size of its images; None if they differ in size.
        scenes: Names of its scenes, sorted.
        shards: Its shards; images in one shard have the same size, and shards are sorted by it.
    """

    tile: fields.Size | None
    scenes: tuple[str, ...]
    shards: tuple[ShardPlan, ...]

    @property
    def sizes(self) -> dict[fields.Size, int]:
        """Number of records by size, in the order of the shards."""
        found: dict[fields.Size, int] = {}
        for shard in self.shards:
            found[shard.tile] = found.get(shard.tile, 0) + shard.records
        return found

    @property
    def records(self) -> int:
        """Number of records in all shards."""
        return sum(shard.records for shard in self.shards)


def frame_size(item: Item, settings: Settings) -> fields.Size:
    """Returns the size of a frame after any resizing."""
    return settings.resize or fields.Size(item.height, item.width)


def boxes(frame: fields.Size, tile: fields.Size, stride: fields.Size) -> list[tiling.Box]:
    """Returns the tiles of one frame that lie fully inside it, on a grid from the top left."""
    return tiling.grid(*frame, *tile, *stride, False)


def thin(items: Sequence[T], count: int) -> Sequence[T]:
    """Returns at most `count` of the items, evenly spaced and in order."""
    if count >= len(items):
        return items
    return [items[index * len(items) // count] for index in range(count)]


def make_plan(listing: Listing, settings: Settings) -> dict[str, SplitPlan]:
    """Plans the shards of all splits that have frames.

    Raises:
        DataError: A tile is larger than its frame, untiled training or validation frames differ in
            size, a scene is in two splits, a frame is listed twice, or there are no frames.
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
    keys: set[str] = set()
    for split, items in listing.splits.items():
        for item in items:
            other = home.setdefault(item.scene, split)
            if other != split:
                raise DataError(
                    f"Scene {item.scene!r} is in both {other} and {split}, so a network would be "
                    "evaluated on a training scene. Remove it from one of them."
                )
            if item.key in keys:
                raise DataError(f"Frame {item.key!r} is listed twice; names must be unique.")
            keys.add(item.key)


def _plan_split(split: str, items: Sequence[Item], settings: Settings) -> SplitPlan:
    tile, stride = settings.tiling_of(split)
    if tile is not None:
        assert stride is not None
        parts = [_plan_shards(split, items, settings, tile, stride)]
    else:
        groups: dict[fields.Size, list[Item]] = {}
        for item in items:
            groups.setdefault(frame_size(item, settings), []).append(item)
        if len(groups) > 1 and split != "test":
            raise _sizes_differ(split, [group[0] for group in groups.values()][:2], settings)
        tile = next(iter(groups)) if len(groups) == 1 else None
        # A reader needs one shape for each shard, and all shards of a size are neighbors.
        parts = [_plan_shards(split, groups[size], settings, size, size) for size in sorted(groups)]
    shards = [shard for part in parts for shard in part]
    return SplitPlan(
        tile,
        tuple(sorted({item.scene for item in items})),
        tuple(
            dataclasses.replace(shard, file=shard_name(split, index, len(shards)))
            for index, shard in enumerate(shards)
        ),
    )


def _plan_shards(
    split: str, items: Sequence[Item], settings: Settings, tile: fields.Size, stride: fields.Size
) -> list[ShardPlan]:
    """Plans the shards of frames with tiles of one size; they have no names yet."""
    counts = {}
    for size in {frame_size(item, settings) for item in items}:
        if tile[0] > size[0] or tile[1] > size[1]:
            item = next(item for item in items if frame_size(item, settings) == size)
            raise DataError(
                f"A tile of {size_text(tile)} does not fit in {item.sharp or item.key}, which is "
                f"{size_text(size)}{' after resizing' if settings.resize else ''}. Set a smaller "
                "--tile."
            )
        counts[size] = len(boxes(size, tile, stride))
    tiles = [counts[frame_size(item, settings)] for item in items]

    order = np.arange(len(items))
    if split == "train":
        # Neighboring frames look alike. Spreading them over the shards lets a reader that
        # shuffles within a few shards still mix the whole set.
        order = item_rng(settings.seed, "order of train").permutation(len(items))
    pixels = sum(tiles) * math.prod(tile)
    count = min(len(items), math.ceil(2 * 3 * pixels / SHARD_BYTES))
    shards = []
    for index in range(count):
        chosen = order[index * len(items) // count : (index + 1) * len(items) // count]
        shards.append(
            ShardPlan(
                file="",
                items=tuple(items[place] for place in chosen),
                records=sum(tiles[place] for place in chosen),
                tile=tile,
                stride=stride,
                shuffled=split == "train",
            )
        )
    return shards


def _sizes_differ(split: str, items: Sequence[Item], settings: Settings) -> DataError:
    described = " and ".join(
        f"{item.sharp or item.key} is {size_text(frame_size(item, settings))}" for item in items
    )
    return DataError(
        f"Without --tile, all frames of the split {split} must have the same size, but "
        f"{described}. Set --tile or --resize."
    )


def fingerprint(source: str, options: Mapping[str, Any], plans: Mapping[str, SplitPlan]) -> str:
    """Returns a digest of everything that determines the shards.

    Builds with equal digests make equal shards as long as the image files are the same. The path
    of --source is not part of it, so a raw set may be moved between two runs; other paths are.
    """
    frames = [
        [split, shard.file, [[item.key, item.width, item.height] for item in shard.items]]
        for split, plan in sorted(plans.items())
        for shard in plan.shards
    ]
    content = json.dumps([source, comparable(options), frames], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that determine the records: all except the path of --source."""
    return {name: value for name, value in options.items() if name != "source"}
