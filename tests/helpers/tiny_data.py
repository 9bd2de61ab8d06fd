"""Small data sets on disk or in memory for tests of whole commands."""

import hashlib

import numpy as np
import tensorflow as tf

from tfdeblur.data import schema
from tfdeblur.io import files


def write_data_set(
    directory, splits=None, side=16, encoding="raw", shards=2, seed=0, gain=0.5, offset=64
):
    """Writes a data set whose blur is a loss of contrast, which a small network undoes at once."""
    rng = np.random.default_rng(seed)
    files.make_dirs(directory)
    parts = {}
    for name, count in (splits or {"train": 24, "val": 6, "test": 6}).items():
        written = []
        for shard in range(shards):
            records = []
            for index in range(shard, count, shards):
                sharp = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                blurred = (sharp * gain + offset).astype(np.uint8)
                record = schema.Record(
                    blurred, sharp, f"{name}-scene", f"{index:04d}", 0, 0, side, side
                )
                records.append(schema.encode_record(record, encoding))
            file = schema.shard_name(name, shard, shards)
            path = files.join(directory, file)
            with tf.io.TFRecordWriter(path) as writer:
                for data in records:
                    writer.write(data)
            content = files.read_bytes(path)
            written.append(
                schema.Shard(file, len(records), len(content), hashlib.sha256(content).hexdigest())
            )
        parts[name] = schema.Split(side, side, encoding, count, (f"{name}-scene",), tuple(written))
    manifest = schema.Manifest(source="test", blur={"kind": "contrast"}, options={}, splits=parts)
    manifest.save(directory)
    return directory
