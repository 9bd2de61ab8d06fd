"""Learning rates as functions of the images seen.

Counting images makes a recipe the same training on one device or eight, and gives networks that
are updated at different rates (five critic updates per generator update) the same clock.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfdeblur.config import ScheduleConfig
from tfdeblur.config.fields import images_of

# From the count of images, a float32 scalar or a float, to the learning rate, a float32 scalar.
Rate = Callable[[Any], Any]


def make_rate(
    schedule: ScheduleConfig,
    peak: float,
    *,
    total_images: int,
    epoch_images: int,
    global_batch: int,
) -> Rate:
    """Builds the function from images seen to the learning rate.

    Args:
        schedule: Its durations are converted to images here, once.
        peak: The learning rate before any decay.
        total_images: Length of the run, at which ``linear`` and ``cosine`` reach `schedule.final`.
        epoch_images: Images in one epoch of the training data.
        global_batch: Images in one update.
    """

    def to_images(duration: str | None) -> float:
        if duration is None:
            return 1.0
        return float(images_of(duration, epoch_images=epoch_images, global_batch=global_batch))

    warmup, start = to_images(schedule.warmup), to_images(schedule.start)
    every = max(to_images(schedule.every), 1.0)
    cycle = to_images(schedule.cycle)
    milestones = [to_images(milestone) for milestone in schedule.milestones]
    decay_start = max(start, warmup)
    decay_length = max(float(total_images) - decay_start, 1.0)

    def decayed(images: Any) -> Any:
        past = ops.maximum(images - decay_start, 0.0)
        started = ops.cast(images >= decay_start, "float32")
        top = peak * (1.0 + (schedule.drop - 1.0) * started)
        if schedule.name == "step" and milestones:
            reached = sum(ops.cast(images >= milestone, "float32") for milestone in milestones)
            return peak * ops.power(schedule.factor, reached)
        if schedule.name == "step":
            return top * ops.power(schedule.factor, ops.floor(past / every))
        if schedule.name == "exponential":
            return top * ops.power(schedule.factor, past / every)
        share = ops.minimum(past / decay_length, 1.0)
        if schedule.name == "linear":
            return top + (schedule.final - top) * share
        if schedule.name == "cosine":
            if schedule.cycle is not None:
                share = ops.mod(past, cycle) / cycle
            wave = 0.5 * (1.0 + ops.cos(math.pi * share))
            return schedule.final + (top - schedule.final) * wave
        return ops.convert_to_tensor(peak, "float32")

    def rate(images: Any) -> Any:
        images = ops.convert_to_tensor(images, "float32")
        value = decayed(images)
        if warmup > 0:
            # The batch of the first update counts, so that its rate is not 0.
            value *= ops.minimum((images + global_batch) / warmup, 1.0)
        return ops.cast(value, "float32")

    return rate


class ImageClock(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that follows the count of images instead of the optimizer's iterations.

    Args:
        rate: From images seen to the learning rate.
        images: The run's counter of images, int64 scalar.
        scale: Multiplies the rate, float32 scalar.
    """

    def __init__(self, rate: Rate, images: keras.Variable, scale: keras.Variable) -> None:
        super().__init__()
        self._rate = rate
        self._images = images
        self._scale = scale

    def __call__(self, step: Any) -> Any:
        """Returns the present rate; the optimizer's `step` is ignored."""
        return self._rate(ops.cast(self._images, "float32")) * self._scale

    def get_config(self) -> dict[str, Any]:
        """Returns nothing: the run's configuration holds the schedule."""
        return {}
