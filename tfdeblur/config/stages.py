"""Progressive training: crops and batches that change at given counts of images."""

import dataclasses
import math
from collections.abc import Sequence

from tfdeblur.config.fields import images_of, split_duration
from tfdeblur.config.train import ScheduleConfig, StageConfig, TrainConfig
from tfdeblur.errors import ConfigError


def stage_configs(config: TrainConfig) -> list[TrainConfig]:
    """Returns the configuration of each stage of a run, the first one first.

    They differ in `data.crop` and `training.global_batch`.
    """
    found = [config]
    for stage in config.training.stages:
        before = found[-1]
        data = dataclasses.replace(before.data, crop=stage.crop or before.data.crop)
        batch = stage.global_batch or before.training.global_batch
        training = dataclasses.replace(before.training, global_batch=batch)
        found.append(dataclasses.replace(before, data=data, training=training))
    return found


def shared_batch(config: TrainConfig) -> int:
    """Returns the largest number of images that divides the global batches of all stages."""
    return math.gcd(*(stage.training.global_batch for stage in stage_configs(config)))


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The stages of a run by the count of images, the clock of the run.

    Attributes:
        epoch_images: Images in one epoch of the training data.
        step_images: Images of one step in each stage.
        begins: Count of images at which each stage begins; 0 for the first.
    """

    epoch_images: int
    step_images: tuple[int, ...]
    begins: tuple[int, ...] = (0,)

    @classmethod
    def of(
        cls, stages: Sequence[StageConfig], step_images: Sequence[int], epoch_images: int
    ) -> "Timeline":
        """Returns the timeline of a run.

        Args:
            stages: The stages after the first.
            step_images: Images of one step in each stage, one more than `stages`.
            epoch_images: Images in one epoch of the training data.

        Raises:
            ConfigError: A stage does not start after the one before it.
        """
        known = cls(epoch_images, (step_images[0],))
        for index, stage in enumerate(stages):
            begin, size = known.begins[-1], known.step_images[-1]
            # Rounded up to whole steps.
            steps = math.ceil((known.images(stage.start) - begin) / size)
            if steps < 1:
                raise ConfigError(
                    f"training.stages.{index}.start: {stage.start} is not after the start of the "
                    f"stage before it, at {begin:,} images."
                )
            begins = (*known.begins, begin + steps * size)
            known = cls(epoch_images, tuple(step_images[: index + 2]), begins)
        return known

    def stage_at(self, images: int) -> int:
        """Returns the index of the stage that trains from a count of images on."""
        return sum(begin <= images for begin in self.begins) - 1

    def end(self, stage: int) -> float:
        """Returns the count of images at which a stage ends; infinity for the last one."""
        return (*self.begins, math.inf)[stage + 1]

    def images(self, duration: str) -> int:
        """Converts a duration since the start of the run to a count of images.

        Example:
            >>> Timeline(1000, (8, 4), (0, 80)).images("15 steps")
            100
        """
        number, unit = split_duration(duration)
        if unit != "steps":
            return images_of(duration, epoch_images=self.epoch_images, global_batch=1)
        stage = 0
        while number * self.step_images[stage] > self.end(stage) - self.begins[stage]:
            number -= (self.end(stage) - self.begins[stage]) / self.step_images[stage]
            stage += 1
        return max(1, self.begins[stage] + round(number * self.step_images[stage])) if number else 0

    def steps(self, images: int) -> int:
        """Returns the number of steps until a count of images.

        Example:
            >>> Timeline(1000, (8, 4), (0, 80)).steps(100)
            15
        """
        spans = zip(self.begins, (*self.begins[1:], images), self.step_images, strict=True)
        return sum(
            math.ceil((min(end, images) - begin) / size)
            for begin, end, size in spans
            if begin < images
        )

    def in_images(self, config: TrainConfig) -> TrainConfig:
        """Returns a configuration whose learning rates warm up and decay by counts of images."""

        def converted(schedule: ScheduleConfig) -> ScheduleConfig:
            points = (schedule.warmup, schedule.start, *schedule.milestones)
            warmup, start, *milestones = (f"{self.images(point)} images" for point in points)
            return dataclasses.replace(
                schedule, warmup=warmup, start=start, milestones=tuple(milestones)
            )

        networks = {
            name: dataclasses.replace(own, schedule=own.schedule and converted(own.schedule))
            for name, own in vars(config.networks).items()
            if own is not None
        }
        return dataclasses.replace(
            config,
            schedule=converted(config.schedule),
            networks=dataclasses.replace(config.networks, **networks),
        )
