"""Learning rates as functions of the images seen.

Counting images makes a recipe the same training on one device or eight, and keeps players that
move at different rates (five critic updates for one of the generator) on one clock.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfdeblur.config import ScheduleConfig
from tfdeblur.config.fields import images_of

Rate = Callable[[tf.Tensor], tf.Tensor]


def make_rate(
    schedule: ScheduleConfig,
    peak: float,
    *,
    total_images: int,
    epoch_images: int,
    global_batch: int,
) -> Rate:
    """Builds the function from images seen (float32 scalar) to the learning rate.

    Args:
        schedule: Its durations are converted to images here, once.
        peak: The learning rate before any decay.
        total_images: Length of the run, where ``linear`` and ``cosine`` reach `schedule.final`.
        epoch_images: Images in one epoch of the training data.
        global_batch: Images in one update.
    """

    def to_images(duration: str | None) -> float:
        if duration is None:
            return 1.0
        return float(images_of(duration, epoch_images=epoch_images, global_batch=global_batch))

    warmup, start = to_images(schedule.warmup), to_images(schedule.start)
    every = max(to_images(schedule.every), 1.0)
    decay_length = max(float(total_images) - max(start, warmup), 1.0)

    def decayed(images: tf.Tensor) -> tf.Tensor:
        past = tf.maximum(images - max(start, warmup), 0.0)
        begun = tf.cast(images >= max(start, warmup), tf.float32)
        top = peak * (1.0 + (schedule.drop - 1.0) * begun)
        if schedule.name == "step":
            return top * tf.pow(schedule.factor, tf.floor(past / every))
        if schedule.name == "exponential":
            return top * tf.pow(schedule.factor, past / every)
        share = tf.minimum(past / decay_length, 1.0)
        if schedule.name == "linear":
            return top + (schedule.final - top) * share
        if schedule.name == "cosine":
            wave = 0.5 * (1.0 + tf.cos(math.pi * share))
            return schedule.final + (top - schedule.final) * wave
        return tf.constant(peak, tf.float32)

    def rate(images: tf.Tensor) -> tf.Tensor:
        value = decayed(images)
        if warmup > 0:
            # The first update already learns: its rate is that of the batch it has just seen.
            value *= tf.minimum((images + global_batch) / warmup, 1.0)
        return tf.cast(value, tf.float32)

    return rate


class ImageClock(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that looks at the count of images instead of the optimizer's own steps.

    Args:
        rate: From images seen to the learning rate.
        images: The run's counter of images, int64 scalar.
        scale: Multiplies the rate, float32 scalar.
    """

    def __init__(self, rate: Rate, images: tf.Variable, scale: tf.Variable) -> None:
        super().__init__()
        self._rate = rate
        self._images = images
        self._scale = scale

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the rate now; the optimizer's `step` is not looked at."""
        return self._rate(tf.cast(self._images, tf.float32)) * self._scale

    def get_config(self) -> dict[str, Any]:
        """Returns nothing: the run's configuration holds the schedule."""
        return {}
