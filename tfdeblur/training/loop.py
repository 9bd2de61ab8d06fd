"""The only loop: steps inside one `tf.function`, everything with a side effect between them."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfdeblur.errors import ConfigError, UserError
from tfdeblur.training.state import TrainingState
from tfdeblur.training.step import ReplicaStep


@dataclasses.dataclass(frozen=True)
class Report:
    """What a hook is told.

    Attributes:
        images: Images seen since the start of training.
        epoch_images: Images in one epoch.
        metrics: Means of the step's scalars since the hook was last called.
        images_per_second: Over the time since then that was spent training.
        last: This is the end of the run.
    """

    images: int
    epoch_images: int
    metrics: Mapping[str, float]
    images_per_second: float
    last: bool

    @property
    def epoch(self) -> float:
        """Epochs since the start of training."""
        return self.images / self.epoch_images


@dataclasses.dataclass
class Hook:
    """Something that happens every so many images, between loops.

    Attributes:
        every: Images between two calls; rounded up to whole steps.
        call: Is given a report.
        name: For messages.
    """

    every: int
    call: Callable[[Report], None]
    name: str = ""


@dataclasses.dataclass
class _Since:
    """Sums of what happened since a hook was last called."""

    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, steps: int, seconds: float, sums: Mapping[str, float]) -> None:
        self.steps += steps
        self.seconds += seconds
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


class Diverged(UserError):
    """A loss is no longer a number."""


class Loop:
    """Trains from where the state stands to a count of images.

    Args:
        strategy: Places the step on devices.
        step: One replica's update.
        state: Its `images` is the clock.
        step_images: Images that one step takes.
        epoch_images: Images in one epoch, for reports.
        steps_per_loop: Most steps in one call of the compiled function.
        jit_compile: Compile the replica's step with XLA (one device; a TPU always does).
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step: ReplicaStep,
        state: TrainingState,
        *,
        step_images: int,
        epoch_images: int,
        steps_per_loop: int,
        jit_compile: bool = False,
    ) -> None:
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise ConfigError(
                "runtime.xla: TensorFlow compiles the step with XLA on one device only (and on "
                "TPUs, where it always does). Leave it at 'auto'."
            )
        self._state = state
        self._step_images = step_images
        self._epoch_images = epoch_images
        self._steps_per_loop = steps_per_loop
        replica_step = tf.function(step, jit_compile=True) if jit_compile else step
        names = self._names = step.metric_names

        @tf.function
        def run_steps(iterator: tf.data.Iterator, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # The loop stands outside `strategy.run`, and its length is a tensor: one trace
            # serves every length.
            sums = tf.zeros([len(names)])
            first_broken = tf.constant(-1)
            broken = tf.zeros([len(names)], tf.bool)
            for index in tf.range(count):
                batches = [next(iterator) for _ in range(step.batches)]
                results = strategy.run(replica_step, args=tuple(batches))
                values = tf.stack(
                    [
                        strategy.reduce(tf.distribute.ReduceOp.SUM, results[name], axis=None)
                        for name in names
                    ]
                )
                sums += values
                # After the first step that goes wrong everything is wrong: remember that one.
                not_finite = tf.logical_not(tf.math.is_finite(values))
                first = tf.logical_and(first_broken < 0, tf.reduce_any(not_finite))
                first_broken = tf.where(first, index, first_broken)
                broken = tf.where(first, not_finite, broken)
                state.images.assign_add(step_images)
            return sums, first_broken, broken

        self._run_steps = run_steps

    def run(
        self,
        iterator: tf.data.Iterator,
        total_images: int,
        hooks: Sequence[Hook],
        on_progress: Callable[[int, Mapping[str, float]], None] = lambda images, metrics: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Trains until `total_images` have been seen.

        Args:
            iterator: Yields distributed batches, beginning at the state's count of images.
            total_images: Where to stop; rounded up to whole steps.
            hooks: Called in order whenever their interval is over, and all of them at the end.
            on_progress: Called after every compiled call with the images done in it and the
                means of its scalars.
            stop: Looked at after every compiled call; once it is true, the run ends there.

        Raises:
            Diverged: A scalar is not finite; nothing is saved after it.
        """
        images = self._state.images_seen
        since = {id(hook): _Since() for hook in hooks}
        due = {id(hook): _next(images, hook.every) for hook in hooks}
        while images < total_images and not stop():
            goal = min([total_images, *due.values()])
            steps = min(self._steps_per_loop, math.ceil((goal - images) / self._step_images))
            start = time.perf_counter()
            totals, first_broken, broken = self._run_steps(iterator, tf.constant(steps))
            # Reading the result waits for the device; the clock is read after that.
            sums = dict(zip(self._names, totals.numpy().tolist(), strict=True))
            seconds = time.perf_counter() - start
            images = self._state.images_seen
            if int(first_broken) >= 0:
                whole = images - (steps - int(first_broken)) * self._step_images
                raise self._diverged(whole, broken)
            on_progress(steps * self._step_images, {k: v / steps for k, v in sums.items()})
            last = images >= total_images
            for hook in hooks:
                since[id(hook)].add(steps, seconds, sums)
            for hook in hooks:
                if images >= due[id(hook)] or last:
                    hook.call(self._report(since[id(hook)], images, last))
                    since[id(hook)] = _Since()
                    due[id(hook)] = _next(images, hook.every)

    def _report(self, since: _Since, images: int, last: bool) -> Report:
        return Report(
            images=images,
            epoch_images=self._epoch_images,
            metrics={name: value / since.steps for name, value in since.sums.items()},
            images_per_second=since.steps * self._step_images / max(since.seconds, 1e-9),
            last=last,
        )

    def _diverged(self, images: int, broken: tf.Tensor) -> Diverged:
        names = [name for name, bad in zip(self._names, broken.numpy(), strict=True) if bad]
        return Diverged(
            f"Training diverged in step {images // self._step_images + 1:,}, after {images:,} "
            f"images: {', '.join(names)} is not finite. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or use --precision float32."
        )


def _next(images: int, every: int) -> int:
    return (images // every + 1) * every
