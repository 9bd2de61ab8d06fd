"""Small data sets on disk or in memory."""

import numpy as np

from tfdeblur.config import DataConfig
from tfdeblur.data import schema
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.io import files

_ARGUMENTS = ("seed", "synthesis")


def training_data(paths, **options):
    """Opens `TrainingData` with its own keyword arguments and those of `DataConfig`, uncached."""
    paths = (paths,) if isinstance(paths, str) else tuple(paths)
    arguments = {name: options.pop(name) for name in _ARGUMENTS if name in options}
    return TrainingData(DataConfig(**{"cache": "off", "paths": paths, **options}), **arguments)


def write_split(directory, name, shards):
    """Writes the shards of one split.

    Args:
        directory: Existing folder of the data set.
        name: Name of the split.
        shards: A list of serialized records for each shard.

    Returns:
        The shards as the manifest lists them.
    """
    written = []
    for index, records in enumerate(shards):
        file = schema.shard_name(name, index, len(shards))
        written.append(schema.write_shard(files.join(directory, file), records))
    return tuple(written)


def write_data_set(
    directory, splits=None, side=16, encoding="raw", shards=2, seed=0, gain=0.5, offset=64
):
    """Writes a data set whose blur reduces contrast, which a small network soon inverts."""
    rng = np.random.default_rng(seed)
    files.make_dirs(directory)
    written = {}
    for name, count in (splits or {"train": 24, "val": 6, "test": 6}).items():
        contents = []
        for shard in range(shards):
            records = []
            for index in range(shard, count, shards):
                sharp = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                blurred = (sharp * gain + offset).astype(np.uint8)
                record = schema.Record(
                    blurred, sharp, f"{name}-scene", f"{index:04d}", 0, 0, side, side
                )
                records.append(schema.encode_record(record, encoding))
            contents.append(records)
        files_of_split = write_split(directory, name, contents)
        written[name] = schema.Split(
            side, side, encoding, count, (f"{name}-scene",), files_of_split
        )
    manifest = schema.Manifest(source="test", blur={"kind": "contrast"}, options={}, splits=written)
    manifest.save(directory)
    return directory


def write_mixed_set(directory, sizes, split="test", encoding="raw", seed=0):
    """Writes a split of images of several sizes, into a data set if the folder holds one.

    Args:
        directory: Folder of the data set.
        sizes: Height, width and the number of images in each shard, sorted by size.
        split: Name of the split.
        encoding: Encoding of the images.
        seed: Seed of the images.

    Returns:
        The folder, and the records by size.
    """
    rng = np.random.default_rng(seed)
    files.make_dirs(directory)
    contents, groups, index = [], [], 0
    for height, width, shards in sizes:
        groups.append([])
        for count in shards:
            records = []
            for _ in range(count):
                sharp = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                blurred = (sharp * rng.uniform(0.3, 0.9) + 20).astype(np.uint8)
                names = (f"scene{index % 2}", f"{index:04d}")
                records.append(schema.Record(blurred, sharp, *names, 0, 0, height, width))
                index += 1
            contents.append([schema.encode_record(record, encoding) for record in records])
            groups[-1] += records
    found = tuple(
        schema.Sizes(*size[:2], len(group)) for size, group in zip(sizes, groups, strict=True)
    )
    written = write_split(directory, split, contents)
    whole = schema.Split(0, 0, encoding, index, ("scene0", "scene1"), written, found)
    built = files.exists(files.join(directory, schema.MANIFEST_NAME))
    others = schema.Manifest.load(directory).splits if built else {}
    schema.Manifest("test", {"kind": "contrast"}, {}, {**others, split: whole}).save(directory)
    return directory, groups


def make_record(height=6, width=5, seed=0, **fields):
    """Returns a record of noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return schema.Record(
        **{
            "blurred": images[0],
            "sharp": images[1],
            "scene": "GOPR0854_11_00",
            "frame": f"{seed:06d}",
            "top": 3,
            "left": 4,
            "source_height": 720,
            "source_width": 1280,
            **fields,
        }
    )


def write_noise_set(folder, encoding="raw", shards=(3, 2), height=6, width=5):
    """Writes a data set with one split and shards of the given sizes; returns its manifest."""
    files.make_dirs(folder)
    contents = [
        [
            schema.encode_record(make_record(height, width, seed=10 * index + number), encoding)
            for number in range(count)
        ]
        for index, count in enumerate(shards)
    ]
    written = write_split(folder, "train", contents)
    split = schema.Split(height, width, encoding, sum(shards), ("a", "b"), written)
    manifest = schema.Manifest(
        source="gopro",
        blur={"kind": "recorded"},
        options={"tile": "5x6"},
        splits={"train": split},
        notes=("A note.",),
        fingerprint="f",
    )
    manifest.save(folder)
    return manifest
