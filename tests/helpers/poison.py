"""A record with a NaN loss."""

import tensorflow as tf

from tests.helpers.tiny_data import training_data
from tfdeblur.training.engines.tensorflow import train_step


def poison(monkeypatch, data, position=4):
    """Makes the outputs for the record at one position NaN, once per epoch.

    The sum of its pixels identifies it, which flips and turns do not change.
    """
    (batch,) = training_data(data).dataset(1, position).take(1)
    total = tf.reduce_sum(tf.cast(batch["sharp"], tf.int32)).numpy()
    sound = train_step.uint8_to_unit

    def to_unit(images):
        sums = tf.reduce_sum(tf.cast(images, tf.int32), axis=[1, 2, 3], keepdims=True)
        return tf.where(sums == total, float("nan"), sound(images))

    monkeypatch.setattr(train_step, "uint8_to_unit", to_unit)
