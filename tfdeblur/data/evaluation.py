"""A whole split once, in file order: what every reported number is computed from."""

from collections.abc import Mapping

import tensorflow as tf

from tfdeblur.data import schema
from tfdeblur.data.dataset import check_positive, open_split

_FEATURES = ("blurred", "sharp", "scene", "frame")


class EvaluationData:
    """The pairs of one split, each once and whole, in the order in which they are stored.

    Attributes:
        path: Folder of the data set.
        split: Name of the split.
        manifest: The data set's manifest.
        records: Number of pairs that are given.
        height: Rows of an image.
        width: Columns of an image.
    """

    def __init__(self, path: str, split: str, limit: int | None = None) -> None:
        """Opens the split and checks all that can be checked before reading.

        Args:
            path: Folder made by `data_prep.build`.
            split: The split to read.
            limit: Read the first so many pairs only.

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
        """Returns the number of elements that `dataset` gives for the same arguments."""
        return -(-self.records // (batch_size * multiple_of)) * multiple_of

    def dataset(self, batch_size: int, multiple_of: int = 1) -> tf.data.Dataset:
        """Returns the pairs in batches of one fixed shape.

        Args:
            batch_size: Pairs in one element.
            multiple_of: Number of elements to divide by, such as the number of replicas that take
                an element each.

        Returns:
            `blurred` and `sharp` as uint8 [batch_size, height, width, 3], `scene` and `frame` as
            string [batch_size], and `valid` as bool [batch_size]. The end is filled up with black
            pairs without a name, whose `valid` is False. Damaged data raise one of
            `opening.READ_ERRORS`, for `opening.explain_read_error` to explain.
        """
        check_positive(batch_size=batch_size, multiple_of=multiple_of)
        stored = self._opened.split
        records = tf.data.TFRecordDataset(self._opened.paths, buffer_size=self._opened.buffer_bytes)
        if self.records == stored.records:
            # Fewer than the manifest says must not pass for the whole split.
            records = records.apply(tf.data.experimental.assert_cardinality(self.records))
        pairs = records.take(self.records).map(self._parsed, tf.data.AUTOTUNE)
        missing = self.batches(batch_size, multiple_of) * batch_size - self.records
        padding = tf.data.Dataset.from_tensors(self._blank()).repeat(missing)
        batches = pairs.concatenate(padding).batch(batch_size, drop_remainder=True)
        options = tf.data.Options()
        options.deterministic = True
        off = tf.data.experimental.AutoShardPolicy.OFF
        options.experimental_distribute.auto_shard_policy = off
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)

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
