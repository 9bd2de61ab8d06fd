"""Images of training samples, for runs without validation data."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_data import training_data, write_data_set
from tests.helpers.toys import toy_generator, two_replicas
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.execution.tensorflow import TensorFlowExecutor
from tfdeblur.io import files
from tfdeblur.training.validation import SampleRestorer, TrainingSamples


def sequence(data, count):
    """The first samples of a training."""
    batch = next(iter(data.dataset(count)))
    return np.asarray(batch["blurred"]), np.asarray(batch["sharp"])


@pytest.mark.parametrize(
    ("batch_size", "blur"),
    [(1, None), (2, Degradation(blur="gaussian", min_sigma=1.0)), (5, None)],
)
def test_samples_are_the_first_of_the_training_for_any_batch_size(folder, batch_size, blur):
    path = write_data_set(files.join(folder, "data"), {"train": 20})
    options = {"crop": (8, 12), "seed": 3, "synthesis": blur}
    samples = TrainingSamples(training_data(path, **options), 5)
    assert (samples.records, samples.height, samples.width) == (5, 8, 12)
    batches = list(samples.dataset(batch_size))
    blurred, sharp = sequence(training_data(path, **options), 5)
    for half, expected in (("blurred", blurred), ("sharp", sharp)):
        got = np.concatenate([batch[half] for batch in batches])[:5]
        np.testing.assert_array_equal(got, expected)
    assert all(batch["valid"].all() for batch in batches)
    assert all(batch["scene"].shape == (batch_size,) for batch in batches)


def test_samples_are_at_most_the_records(folder):
    path = write_data_set(files.join(folder, "data"), {"train": 4})
    assert TrainingSamples(training_data(path), 6).records == 4


@pytest.mark.parametrize(
    ("strategy", "count"),
    [
        (tf.distribute.get_strategy, 0),
        (tf.distribute.get_strategy, 3),
        (two_replicas, 1),
        (two_replicas, 3),
    ],
)
def test_pictures_are_samples_restored_with_current_weights(folder, strategy, count):
    data = training_data(write_data_set(files.join(folder, "data"), {"train": 8}))
    with strategy().scope():
        generator = toy_generator()
    take = SampleRestorer(generator, TrainingSamples(data, count), TensorFlowExecutor(strategy()))
    pictures = take()
    assert pictures.kind == "Training sample" and list(pictures.records) == list(range(count))
    if not count:
        assert not pictures.blurred and not pictures.restored and not pictures.sharp
        return
    blurred, sharp = sequence(data, count)
    np.testing.assert_array_equal(pictures.blurred, blurred)
    np.testing.assert_array_equal(pictures.sharp, sharp)
    model = generator.as_unit_model()

    def restored():
        unit = np.asarray(model(blurred.astype(np.float32) / 255.0, training=False))
        return np.clip(unit, 0.0, 1.0) * 255.0

    np.testing.assert_allclose(np.stack(pictures.restored), restored(), atol=0.51)
    # The same images with other weights, as after more training.
    before = restored()
    for weight in generator.network.trainable_variables:
        weight.assign(weight * 0.5)
    assert np.abs(restored() - before).max() > 2.0
    again = take()
    np.testing.assert_allclose(np.stack(again.restored), restored(), atol=0.51)
    np.testing.assert_array_equal(again.blurred, blurred)
