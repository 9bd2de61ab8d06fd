"""One pass over a split in file order: the data behind every reported metric."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from tfdeblur.data import schema
from tfdeblur.data.dataset import OpenSplit, check_positive, open_split, reading_options
from tfdeblur.data.memory import ArrayDataset, Arrays, stored_records
from tfdeblur.ops.lazy import has_tensorflow, without_autograph
from tfdeblur.ops.lazy import tensorflow as tf

_FEATURES = ("blurred", "sharp", "scene", "frame")
_PLACE = ("top", "left", "source_height", "source_width")


class EvaluationData:
    """The pairs of one split, each once and uncropped, in file order.

    Images of several sizes lie in files of one size each, so those of one size are neighbors.

    Attributes:
        path: Folder of the data set.
        split: Name of the split.
        manifest: The manifest of the data set.
        records: Number of pairs.
    """

    def __init__(self, path: str, split: str, limit: int | None = None) -> None:
        """Opens the split, with all checks that are possible before reading.

        Args:
            path: Folder made by `data_prep.build`.
            split: Name of the split.
            limit: Maximum number of pairs, from the first one on.

        Raises:
            DataError: The data set is missing, incomplete, of another version, or without the
                split.
            ConfigError: The limit is below 1.
        """
        check_positive(limit=limit)
        opened = open_split(path, split, several_sizes=True)
        self.path = path
        self.split = split
        self.manifest = opened.manifest
        stored = opened.split
        self.records = stored.records if limit is None else min(limit, stored.records)
        self._parts: list[tuple[OpenSplit, int]] = []
        left = self.records
        for part in stored.by_size():
            taken = min(left, part.records)
            left -= taken
            if taken:
                self._parts.append((dataclasses.replace(opened, split=part), taken))

    @property
    def sizes(self) -> tuple[schema.Sizes, ...]:
        """Height, width and number of the images of each size, in file order."""
        return tuple(
            schema.Sizes(part.split.height, part.split.width, taken) for part, taken in self._parts
        )

    @property
    def height(self) -> int:
        """Rows of an image; 0 if the images differ in size."""
        return self.sizes[0].height if len(self.sizes) == 1 else 0

    @property
    def width(self) -> int:
        """Columns of an image; 0 if the images differ in size."""
        return self.sizes[0].width if len(self.sizes) == 1 else 0

    def by_size(self) -> tuple[EvaluationData, ...]:
        """Returns the pairs of each size, in file order."""
        found = []
        for part, taken in self._parts:
            one = copy.copy(self)
            one._parts, one.records = [(part, taken)], taken
            found.append(one)
        return tuple(found)

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Returns the pairs in batches of static shape, each of images of one size.

        Args:
            batch_size: Pairs in one element.

        Returns:
            `blurred` and `sharp` as uint8 [batch_size, height, width, 3], `scene` and `frame` as
            string [batch_size], `place` as int64 [batch_size, 4] (top and left of the image in its
            frame, height and width of the frame), and `valid` as bool [batch_size]. The end of
            each size is padded with black pairs without names, whose `valid` is False. If the
            images differ in size, `element_spec` leaves height and width open; see `by_size`.
            Iterate over it in `dataset.read_errors`, which explains errors of damaged data. Where
            TensorFlow is not installed, a `memory.ArrayDataset` of the same arrays; strings are
            bytes.
        """
        check_positive(batch_size=batch_size)
        if not has_tensorflow():
            return ArrayDataset(
                lambda: self._arrays(batch_size),
                (batch_size, self.height, self.width),
                sum(-(-taken // batch_size) for _, taken in self._parts),
            )
        parts = [self._read(*part, batch_size) for part in self._parts]
        batches = functools.reduce(tf.data.Dataset.concatenate, parts)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(reading_options())

    def _arrays(self, batch_size: int) -> Iterator[Arrays]:
        """Yields the elements of `dataset` without TensorFlow."""
        for part, taken in self._parts:
            split = part.split
            records = itertools.islice(stored_records(part), taken)
            size = (split.height, split.width)
            for _ in range(-(-taken // batch_size)):
                found = list(itertools.islice(records, batch_size))
                missing = batch_size - len(found)
                places = [[getattr(one, name) for name in _PLACE] for one in found]
                batch: Arrays = {
                    "place": np.array([*places, *[[0] * len(_PLACE)] * missing], np.int64),
                    "valid": np.arange(batch_size) < len(found),
                }
                for half in ("blurred", "sharp"):
                    batch[half] = np.zeros([batch_size, *size, 3], np.uint8)
                    for row, record in enumerate(found):
                        batch[half][row] = getattr(record, half)
                for name in ("scene", "frame"):
                    names = [getattr(record, name).encode() for record in found]
                    batch[name] = np.array([*names, *[b""] * missing], object)
                yield batch

    @without_autograph
    def _read(self, part: OpenSplit, taken: int, batch_size: int) -> tf.data.Dataset:
        """Returns the first pairs of one size in batches."""
        records = tf.data.TFRecordDataset(part.paths, buffer_size=part.buffer_bytes)
        if taken == part.split.records:
            # Fewer records than the manifest states must not pass for the full split.
            records = records.apply(tf.data.experimental.assert_cardinality(taken))
        parse = functools.partial(_parsed, part.split)
        pairs = records.take(taken).map(parse, tf.data.AUTOTUNE)
        missing = -taken % batch_size
        padding = tf.data.Dataset.from_tensors(_blank(part.split)).repeat(missing)
        return pairs.concatenate(padding).batch(batch_size, drop_remainder=True)


def _parsed(split: schema.Split, record: tf.Tensor) -> dict[str, tf.Tensor]:
    parsed = schema.parse_example(record, split.height, split.width, split.encoding)
    return {
        **{name: parsed[name] for name in _FEATURES},
        "place": tf.stack([parsed[name] for name in _PLACE]),
        "valid": tf.constant(True),
    }


def _blank(split: schema.Split) -> Mapping[str, tf.Tensor]:
    black = tf.zeros([split.height, split.width, 3], tf.uint8)
    return {
        "blurred": black,
        "sharp": black,
        "scene": tf.constant(""),
        "frame": tf.constant(""),
        "place": tf.zeros([len(_PLACE)], tf.int64),
        "valid": tf.constant(False),
    }
