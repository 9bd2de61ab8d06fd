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
        global_batch: Images in one step.
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
        global_batch: int,
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
        self._global_batch = global_batch
        self._epoch_images = epoch_images
        self._steps_per_loop = steps_per_loop
        replica_step = tf.function(step, jit_compile=True) if jit_compile else step
        names = step.metric_names

        @tf.function
        def run_steps(iterator: tf.data.Iterator, count: tf.Tensor) -> dict[str, tf.Tensor]:
            # The loop stands outside `strategy.run`, and its length is a tensor: one trace
            # serves every length.
            sums = {name: tf.constant(0.0) for name in names}
            for _ in tf.range(count):
                results = strategy.run(replica_step, args=(next(iterator),))
                # A new dictionary each time: a graph's loop carries names, not changes inside.
                sums = {
                    name: sums[name]
                    + strategy.reduce(tf.distribute.ReduceOp.SUM, results[name], axis=None)
                    for name in names
                }
                state.images.assign_add(global_batch)
            return sums

        self._run_steps = run_steps

    def run(
        self,
        iterator: tf.data.Iterator,
        total_images: int,
        hooks: Sequence[Hook],
        on_progress: Callable[[int, Mapping[str, float]], None] = lambda images, metrics: None,
    ) -> None:
        """Trains until `total_images` have been seen.

        Args:
            iterator: Yields distributed batches, beginning at the state's count of images.
            total_images: Where to stop; rounded up to whole steps.
            hooks: Called in order whenever their interval is over, and all of them at the end.
            on_progress: Called after every compiled call with the images done in it and the
                means of its scalars.

        Raises:
            Diverged: A scalar is not finite; nothing is saved after it.
        """
        images = self._state.images_seen
        since = {id(hook): _Since() for hook in hooks}
        due = {id(hook): _next(images, hook.every) for hook in hooks}
        while images < total_images:
            goal = min([total_images, *due.values()])
            steps = min(self._steps_per_loop, math.ceil((goal - images) / self._global_batch))
            start = time.perf_counter()
            sums = {
                name: float(value)
                for name, value in self._run_steps(iterator, tf.constant(steps)).items()
            }
            seconds = time.perf_counter() - start
            images = self._state.images_seen
            self._check_finite(sums, steps, images)
            on_progress(steps * self._global_batch, {k: v / steps for k, v in sums.items()})
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
            images_per_second=since.steps * self._global_batch / max(since.seconds, 1e-9),
            last=last,
        )

    def _check_finite(self, sums: Mapping[str, float], steps: int, images: int) -> None:
        broken = sorted(name for name, value in sums.items() if not math.isfinite(value))
        if broken:
            first = images - steps * self._global_batch
            raise Diverged(
                f"Training diverged between image {first} and {images}: {', '.join(broken)} is "
                "not finite. The last checkpoint was written before that. Lower "
                "optimizer.learning_rate, set optimizer.clip_norm, or use --precision float32."
            )


def _next(images: int, every: int) -> int:
    return (images // every + 1) * every
