"""Networks and data from Python in place of those that a configuration names."""

from __future__ import annotations

import dataclasses
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import keras
import numpy as np
from tqdm import tqdm

from tfdeblur import models
from tfdeblur.config import DataConfig, TrainConfig
from tfdeblur.data import schema
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.inputs import open_training_data, open_validation_data
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator, Model, as_generator
from tfdeblur.ops.lazy import is_dataset, without_autograph
from tfdeblur.ops.lazy import tensorflow as tf

Arrays: TypeAlias = tuple[np.ndarray, np.ndarray]
Data: TypeAlias = "Arrays | tf.data.Dataset"

# Shards of a data set written from arrays: as many as the pipeline reads at once, to mix them well.
_SHARDS = 16


# ----------------------------------------------------------------------------------------- networks


def make_generator(config: TrainConfig, model: Model | None) -> Generator:
    """Returns the generator to train, built under the current strategy and precision.

    Args:
        config: Names the generator if `model` is None.
        model: See `training.trainer.Trainer`.
    """
    if model is None:
        return models.create(config.model.name, config.model.options)
    generator = as_generator(model)
    if not isinstance(model, keras.Model | Generator):
        return generator
    # Variables must be created under the strategy.
    network = keras.models.clone_model(generator.network)
    network.set_weights(generator.network.get_weights())
    # The user's weights count, and its variables are not the copy's.
    return dataclasses.replace(generator, network=network, backbone=None)


def copy_weights(generator: Generator, model: Model | None) -> None:
    """Copies the trained weights to the user's network, if it existed before."""
    if isinstance(model, Generator):
        model = model.network
    if isinstance(model, keras.Model):
        model.set_weights(generator.network.get_weights())


# --------------------------------------------------------------------------------------------- data


def open_training(config: TrainConfig, data: Data | TrainingData | None) -> TrainingData:
    """Opens the training data.

    Args:
        config: Names the data sets if `data` is None, and how samples are made of arrays.
        data: See `training.trainer.Trainer`; data that are open already are returned as they are.

    Raises:
        ConfigError: The arrays or the data set do not have the documented form.
        DataError: A data set that the configuration names is missing or damaged.
    """
    if data is None:
        return open_training_data(config)
    if is_dataset(data):
        return cast(TrainingData, DatasetSource(data, config))
    if not isinstance(data, tuple):
        return data
    folder = tempfile.TemporaryDirectory(prefix="tfdeblur-")
    write_arrays(folder.name, config.data.split, data)
    own = dataclasses.replace(config.data, paths=(folder.name,), weights=None)
    opened = open_training_data(dataclasses.replace(config, data=own))
    weakref.finalize(opened, folder.cleanup)
    return opened


def open_validation(
    config: TrainConfig, training: TrainingData, data: Data | None
) -> EvaluationData | None:
    """Opens the validation data; prints why and returns None if there are none.

    Args:
        config: Names the split and how many of its images are used.
        training: The training data, whose data sets may have a validation split.
        data: See `training.trainer.Trainer`.

    Raises:
        ConfigError: The configuration names a split that no data set has.
    """
    split, limit = config.output.validation_split, config.output.validation_images
    if data is None and isinstance(training, DatasetSource):
        tqdm.write("No val_data: nothing is validated, and images show training samples.")
        return None
    if data is None:
        return open_validation_data(config, training)
    if is_dataset(data):
        _check_pairs(data, "val_data")
        blurred, sharp = zip(*data.as_numpy_iterator(), strict=True)
        data = (np.stack(blurred), np.stack(sharp))
    folder = tempfile.TemporaryDirectory(prefix="tfdeblur-")
    write_arrays(folder.name, split, data)
    opened = EvaluationData(folder.name, split, limit)
    weakref.finalize(opened, folder.cleanup)
    return opened


def write_arrays(folder: str, split: str, pair: Arrays) -> None:
    """Writes blurred and sharp images as a data set with one split.

    Args:
        folder: An empty folder.
        split: Name of the split.
        pair: Blurred and sharp images, uint8 [N, H, W, 3] each.

    Raises:
        ConfigError: The arrays have another form.
    """
    blurred, sharp = (np.asarray(half) for half in pair)
    if blurred.shape != sharp.shape or sharp.ndim != 4 or sharp.shape[3] != 3 or not len(sharp):
        raise ConfigError(
            "train_data and val_data: blurred and sharp images must be arrays of the same shape "
            f"[N, H, W, 3]; received {blurred.shape} and {sharp.shape}."
        )
    if blurred.dtype != np.uint8 or sharp.dtype != np.uint8:
        raise ConfigError(
            "train_data and val_data: images must be uint8, from 0 to 255; received "
            f"{blurred.dtype} and {sharp.dtype}."
        )
    count, height, width, _ = sharp.shape
    shards = []
    for index in range(number := min(_SHARDS, count)):
        name = schema.shard_name(split, index, number)
        records = (
            schema.Record(blurred[at], sharp[at], "arrays", f"{at:08d}", 0, 0, height, width)
            for at in range(index, count, number)
        )
        encoded = (schema.encode_record(record, "raw") for record in records)
        shards.append(schema.write_shard(files.join(folder, name), encoded))
    written = schema.Split(height, width, "raw", count, ("arrays",), tuple(shards))
    schema.Manifest("arrays", {"kind": "arrays"}, {}, {split: written}).save(folder)


class DatasetSource:
    """A user's `tf.data.Dataset` with the interface of `data.pipeline.TrainingData`.

    Its pairs are used as they come. To resume at an image count, the pairs before it are read and
    dropped, so the resumed run sees what an uninterrupted one would only if the data set gives
    the same pairs in every process: shuffle it with fixed seeds (`tf.random.set_seed` and the
    argument `seed`).

    Attributes:
        records: Pairs in one epoch.
        height: Rows of an image.
        width: Columns of an image.
        paths: Empty.
        cached_bytes: 0; the user caches such data.
        remote: False.
    """

    def __init__(self, pairs: tf.data.Dataset, config: TrainConfig) -> None:
        """Checks the form of the data set.

        Raises:
            ConfigError: Its elements are not pairs of uint8 images of one static size, or their
                number is 0, infinite or unknown.
        """
        self.height, self.width = _check_pairs(pairs, "train_data")
        self.records = int(pairs.cardinality())
        if self.records < 1:
            raise ConfigError(
                "train_data: the length of an epoch is unknown. State it with "
                "dataset.apply(tf.data.experimental.assert_cardinality(N))."
            )
        self.paths: tuple[str, ...] = ()
        self.cached_bytes = 0
        self.remote = False
        self._pairs = pairs
        if config.data.crop != DataConfig().crop or config.synthesis != Degradation():
            tqdm.write(
                "warning: train_data is a tf.data.Dataset, whose pairs are used as they come: "
                "data.crop and synthesis have no effect."
            )

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Returns the data's identity, in the form of `TrainingData.identity`."""
        one = {"records": self.records, "training shards": None, "validation shards": None}
        return {"sets": [one], "order": {}}

    def batches(
        self, batch_size: int, start_image: int = 0, **places: Any
    ) -> Iterator[dict[str, np.ndarray]]:
        """Returns the elements of `dataset` as arrays."""
        arrays: Iterator[dict[str, np.ndarray]]
        arrays = self.dataset(batch_size, start_image, **places).as_numpy_iterator()
        return arrays

    @without_autograph
    def dataset(
        self,
        batch_size: int,
        start_image: int = 0,
        *,
        global_batch: int | None = None,
        hosts: int = 1,
        host: int = 0,
    ) -> tf.data.Dataset:
        """Returns batches from a position on; see `TrainingData.dataset`.

        Raises:
            ConfigError: There are several hosts, which cannot share a user's data set.
        """
        if hosts > 1:
            raise ConfigError(
                "train_data: a tf.data.Dataset serves one process; give several workers arrays or "
                "a data set made by data_prep.build."
            )
        if start_image:
            tqdm.write(f"Reading past the first {start_image:,} pairs of train_data, to resume.")
        pairs = self._pairs.repeat().skip(start_image)
        batches = pairs.batch(batch_size, drop_remainder=True)
        return batches.map(_named).prefetch(tf.data.AUTOTUNE)


def _check_pairs(pairs: tf.data.Dataset, name: str) -> tuple[int, int]:
    """Returns height and width of the images in a data set of pairs.

    Raises:
        ConfigError: The elements have another form, or their number is 0 or infinite.
    """
    spec = pairs.element_spec
    halves = spec if isinstance(spec, tuple) and len(spec) == 2 else ()
    kinds = {(half.dtype, tuple(half.shape)) for half in halves if half.shape.rank == 3}
    dtype, shape = kinds.pop() if len(kinds) == 1 else (None, (None, None, None))
    if dtype != tf.uint8 or None in shape or shape[2] != 3:
        raise ConfigError(
            f"{name}: the elements of the data set must be pairs (blurred, sharp), not in batches, "
            f"uint8 [H, W, 3] of one static size each; received {spec}."
        )
    if pairs.cardinality() in (0, tf.data.INFINITE_CARDINALITY):
        raise ConfigError(f"{name}: the data set must be finite and not empty; do not repeat it.")
    return shape[0], shape[1]


def _named(blurred: tf.Tensor, sharp: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"blurred": blurred, "sharp": sharp}
