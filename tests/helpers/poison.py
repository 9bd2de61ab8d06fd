"""A record whose loss is no number, wherever it turns up in a training."""

import tensorflow as tf

from tfdeblur.data.pipeline import TrainingData
from tfdeblur.training.engines.tensorflow import step


def poison(monkeypatch, data, position=4):
    """Makes the record at one position of a run restore to nothing that is a number.

    It turns up once in each epoch. Flips and turns do not hide it: it is known by the sum of its
    pixels.
    """
    (batch,) = TrainingData(data).dataset(1, position).take(1)
    total = tf.reduce_sum(tf.cast(batch["sharp"], tf.int32)).numpy()
    sound = step.uint8_to_unit

    def to_unit(images):
        sums = tf.reduce_sum(tf.cast(images, tf.int32), axis=[1, 2, 3], keepdims=True)
        return tf.where(sums == total, float("nan"), sound(images))

    monkeypatch.setattr(step, "uint8_to_unit", to_unit)
