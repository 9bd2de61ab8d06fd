"""Data sets whose records are tiles of frames."""

import numpy as np

from tests.helpers.tiny_data import write_split
from tfdeblur.data import schema
from tfdeblur.io import files
from tfdeblur.ops import tiling


def write_tiled_set(directory, frames=3, height=32, width=40, tile=16, split="test", omit=()):
    """Writes the tiles of random frames; the last ones of a row or column overlap.

    Args:
        directory: Folder of the data set.
        frames: Number of frames.
        height: Rows of a frame.
        width: Columns of a frame.
        tile: Side of a tile.
        split: Name of the split.
        omit: Indices of tiles that are left out of each frame.

    Returns:
        The folder, and the blurred and sharp frames, uint8 [frames, height, width, 3].
    """
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    blurred = (sharp * 0.5 + 64).astype(np.uint8)
    boxes = tiling.grid(height, width, tile, tile, tile, tile, cover=True)
    records = [
        schema.encode_record(
            schema.Record(
                blurred[index][box.slices],
                sharp[index][box.slices],
                "scene",
                f"{index:04d}",
                box.top,
                box.left,
                height,
                width,
            ),
            "raw",
        )
        for index in range(frames)
        for place, box in enumerate(boxes)
        if place not in omit
    ]
    files.make_dirs(directory)
    shards = write_split(directory, split, [records])
    written = {split: schema.Split(tile, tile, "raw", len(records), ("scene",), shards)}
    schema.Manifest(source="test", blur={"kind": "contrast"}, options={}, splits=written).save(
        directory
    )
    return directory, blurred, sharp
