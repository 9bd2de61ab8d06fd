"""One pass over a split in file order: the data behind every reported metric."""

from collections.abc import Mapping

import tensorflow as tf

from tfdeblur.data import schema
from tfdeblur.data.dataset import check_positive, open_split, reading_options

_FEATURES = ("blurred", "sharp", "scene", "frame")


class EvaluationData:
    """The pairs of one split, each once and uncropped, in file order.

    Attributes:
        path: Folder of the data set.
        split: Name of the split.
        manifest: The manifest of the data set.
        records: Number of pairs.
        height: Rows of an image.
        width: Columns of an image.
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
        self._opened = open_split(path, split)
        self.path = path
        self.split = split
        self.manifest = self._opened.manifest
        stored = self._opened.split
        self.records = stored.records if limit is None else min(limit, stored.records)
        self.height, self.width = stored.height, stored.width

    def batches(self, batch_size: int, multiple_of: int = 1) -> int:
        """Returns the number of elements of `dataset` for the same arguments."""
        return -(-self.records // (batch_size * multiple_of)) * multiple_of

    def dataset(self, batch_size: int, multiple_of: int = 1) -> tf.data.Dataset:
        """Returns the pairs in batches of static shape.

        Args:
            batch_size: Pairs in one element.
            multiple_of: The number of elements is a multiple of this, such as the number of
                replicas that process one element each.

        Returns:
            `blurred` and `sharp` as uint8 [batch_size, height, width, 3], `scene` and `frame` as
            string [batch_size], and `valid` as bool [batch_size]. The end is padded with black
            pairs without names, whose `valid` is False. Iterate over it in `dataset.read_errors`,
            which explains errors of damaged data.
        """
        check_positive(batch_size=batch_size, multiple_of=multiple_of)
        stored = self._opened.split
        records = tf.data.TFRecordDataset(self._opened.paths, buffer_size=self._opened.buffer_bytes)
        if self.records == stored.records:
            # Fewer records than the manifest states must not pass for the full split.
            records = records.apply(tf.data.experimental.assert_cardinality(self.records))
        pairs = records.take(self.records).map(self._parsed, tf.data.AUTOTUNE)
        missing = self.batches(batch_size, multiple_of) * batch_size - self.records
        padding = tf.data.Dataset.from_tensors(self._blank()).repeat(missing)
        batches = pairs.concatenate(padding).batch(batch_size, drop_remainder=True)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(reading_options())

    def _parsed(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        stored = self._opened.split
        parsed = schema.parse_example(record, stored.height, stored.width, stored.encoding)
        return {**{name: parsed[name] for name in _FEATURES}, "valid": tf.constant(True)}

    def _blank(self) -> Mapping[str, tf.Tensor]:
        black = tf.zeros([self.height, self.width, 3], tf.uint8)
        return {
            "blurred": black,
            "sharp": black,
            "scene": tf.constant(""),
            "frame": tf.constant(""),
            "valid": tf.constant(False),
        }
