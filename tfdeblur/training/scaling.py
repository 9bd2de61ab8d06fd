"""Larger batches, for devices that could not share the batch of a recipe."""

import dataclasses
import math
from typing import TypeVar

from tqdm import tqdm

from tfdeblur.config import ScheduleConfig, TrainConfig
from tfdeblur.config.train import NetworkConfig, OptimizerConfig
from tfdeblur.errors import ConfigError

Settings = TypeVar("Settings", TrainConfig, NetworkConfig)


def scaled_to(config: TrainConfig, devices: int) -> TrainConfig:
    """Returns a run whose global batch all devices can share; prints what changes.

    The batch becomes the next multiple of the number of devices. Learning rates are multiplied by
    the square root of the factor, the rule for optimizers that divide by the size of the gradient,
    as Adam and RMSprop do; their decay rates stay as they are. Durations in steps become shorter
    by the factor, so the run sees as many images, and averaged weights decay as fast per image.

    Args:
        config: The run.
        devices: Number of devices.

    Returns:
        The run; unchanged if the devices can share its batch.

    Raises:
        ConfigError: The run has stages with batches of their own.

    Reference:
        Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS
        2022.
    """
    training = config.training
    if training.stages:
        raise ConfigError(
            "training.scale_batch: the batches of training.stages are given. Omit one of them."
        )
    batch = math.ceil(training.global_batch / devices) * devices
    factor = batch / training.global_batch
    if factor == 1:
        return config
    decay = training.ema_decay
    training = dataclasses.replace(
        training,
        global_batch=batch,
        duration=_shortened(training.duration, factor),
        ema_decay=None if decay is None else decay**factor,
    )
    networks = {
        name: _scaled(own, factor)
        for name in ("generator", "critic")
        if (own := getattr(config.networks, name)) is not None
    }
    tqdm.write(
        f"training.scale_batch: {batch} images per step instead of {config.training.global_batch}, "
        f"shared by {devices} devices; learning rates are multiplied by {math.sqrt(factor):.4g}."
    )
    return dataclasses.replace(
        _scaled(config, factor),
        training=training,
        networks=dataclasses.replace(config.networks, **networks),
    )


def _scaled(settings: Settings, factor: float) -> Settings:
    """Scales the optimizer and the schedule of a section that has them."""
    optimizer, schedule = settings.optimizer, settings.schedule
    return dataclasses.replace(
        settings,
        optimizer=None if optimizer is None else _with_rate(optimizer, factor),
        schedule=None if schedule is None else _with_schedule(schedule, factor),
    )


def _with_rate(optimizer: OptimizerConfig, factor: float) -> OptimizerConfig:
    rate = optimizer.learning_rate * math.sqrt(factor)
    return dataclasses.replace(optimizer, learning_rate=rate)


def _with_schedule(schedule: ScheduleConfig, factor: float) -> ScheduleConfig:
    return dataclasses.replace(
        schedule,
        warmup=_shortened(schedule.warmup, factor),
        start=_shortened(schedule.start, factor),
        every=schedule.every and _shortened(schedule.every, factor),
        milestones=tuple(_shortened(milestone, factor) for milestone in schedule.milestones),
        cycle=schedule.cycle and _shortened(schedule.cycle, factor),
        final=schedule.final * math.sqrt(factor),
    )


def _shortened(duration: str, factor: float) -> str:
    """Returns a duration with as many images; those in epochs or images do not change."""
    number, _, unit = duration.partition(" ")
    return f"{float(number) / factor} steps" if unit == "steps" else duration
