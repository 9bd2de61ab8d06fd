"""Small data sets on `ram://`, written with the schema alone."""

import hashlib
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.data import schema

_numbers = itertools.count()


def picture(index: int, height: int, width: int) -> np.ndarray:
    """An image of noise whose first two bytes are its number."""
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0, :2] = divmod(index, 256)
    return image


def make_record(index: int, height: int, width: int) -> schema.Record:
    """The record of a given number; the two halves are each other's negative."""
    blurred = picture(index, height, width)
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
    """Writes a data set whose shards hold the given numbers of records, numbered from `first`."""
    directory = directory or f"ram://pipeline-{next(_numbers)}"
    tf.io.gfile.makedirs(directory)
    written = {}
    for split in splits:
        index = first
        entries = []
        for number, count in enumerate(shards):
            name = schema.shard_name(split, number, len(shards))
            path = f"{directory}/{name}"
            with tf.io.TFRecordWriter(path) as writer:
                for _ in range(count):
                    writer.write(schema.encode_record(make_record(index, *size), encoding))
                    index += 1
            with tf.io.gfile.GFile(path, "rb") as file:
                data = file.read()
            digest = hashlib.sha256(data).hexdigest()
            entries.append(schema.Shard(name, count, len(data), digest))
        scenes = tuple(f"scene{n}" for n in sorted({i // 5 for i in range(first, index)}))
        written[split] = schema.Split(*size, encoding, sum(shards), scenes, tuple(entries))
    schema.Manifest("test", {"kind": "none"}, {}, written).save(directory)
    return directory


@pytest.fixture
def dataset() -> Callable[..., str]:
    """The function that writes a data set and returns its folder."""
    return write_dataset
