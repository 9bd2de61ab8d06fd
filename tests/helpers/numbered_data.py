"""Data sets whose images hold the index of their record."""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tests.helpers.tiny_data import write_split
from tfdeblur.data import schema
from tfdeblur.data.shuffle import ShardOrder
from tfdeblur.io import files

PLAIN = {"horizontal_flips": False, "vertical_flips": False}
"""Options of `DataConfig` without augmentation, for `indices`."""

_folders = itertools.count()


def make_image(index: int, height: int, width: int) -> np.ndarray:
    """Returns an image of noise whose first two bytes are its index."""
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0, :2] = divmod(index, 256)
    return image


def make_record(index: int, height: int, width: int) -> schema.Record:
    """Returns the record of an index; the sharp image is the negative of the blurred one."""
    blurred = make_image(index, height, width)
    return schema.Record(
        blurred=blurred,
        sharp=255 - blurred,
        scene=f"scene{index // 5}",
        frame=f"{index:06d}",
        top=0,
        left=0,
        source_height=height,
        source_width=width,
    )


def write_dataset(
    shards: Sequence[int],
    *,
    size: tuple[int, int] = (4, 6),
    encoding: schema.Encoding = "raw",
    splits: Sequence[str] = ("train",),
    first: int = 0,
    directory: str | None = None,
) -> str:
    """Writes a data set with shards of the given sizes; indices start at `first`."""
    directory = directory or f"ram://numbered-{next(_folders)}"
    files.make_dirs(directory)
    index = itertools.count(first)
    contents = [
        [schema.encode_record(make_record(next(index), *size), encoding) for _ in range(count)]
        for count in shards
    ]
    scenes = tuple(f"scene{n}" for n in sorted({i // 5 for i in range(first, first + sum(shards))}))
    written = {
        split: schema.Split(
            *size, encoding, sum(shards), scenes, write_split(directory, split, contents)
        )
        for split in splits
    }
    schema.Manifest("test", {"kind": "none"}, {}, written).save(directory)
    return directory


def index_of(image: np.ndarray) -> int:
    """Returns the index of the record of a blurred image without augmentation."""
    return int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])


def take(dataset: tf.data.Dataset, count: int) -> dict[str, np.ndarray]:
    """Returns the first `count` samples."""
    halves: dict[str, list[np.ndarray]] = {"blurred": [], "sharp": []}
    for batch in dataset:
        for name, images in halves.items():
            images.extend(batch[name].numpy())
        if len(halves["sharp"]) >= count:
            break
    return {name: np.stack(images[:count]) for name, images in halves.items()}


def indices(dataset: tf.data.Dataset, count: int) -> list[int]:
    """Returns the records of the first `count` samples without augmentation."""
    return [index_of(image) for image in take(dataset, count)["blurred"]]


def records_at(order: ShardOrder, position: int, count: int) -> list[int]:
    """Returns the records at `count` positions from `position` on in an endless order."""
    first, start = divmod(position, order.records)
    last = (position + count) // order.records
    epochs = [order.epoch(epoch) for epoch in range(first, last + 1)]
    return np.concatenate(epochs)[start : start + count].tolist()
