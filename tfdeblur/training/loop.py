"""The only loop: steps inside one `tf.function`, everything with a side effect between them."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.errors import ConfigError, UserError
from tfdeblur.training.engines.tensorflow.step import SKIPPED, ReplicaStep
from tfdeblur.training.state import TrainingState


@dataclasses.dataclass(frozen=True)
class Report:
    """What a hook is told.

    Attributes:
        images: Images seen since the start of training.
        epoch_images: Images in one epoch.
        metrics: Means of the step's scalars since the hook was last called, over the steps that
            were not skipped; empty where all were.
        images_per_second: Over the time since then that was spent training.
        last: This is the end of the run.
        waiting: Share of that time in which the devices waited for data, from 0 to 1; None where
            operations are deterministic, since TensorFlow refuses to look at the clock then.
    """

    images: int
    epoch_images: int
    metrics: Mapping[str, float]
    images_per_second: float
    last: bool
    waiting: float | None = None

    @property
    def epoch(self) -> float:
        """Epochs since the start of training."""
        return self.images / self.epoch_images


@dataclasses.dataclass
class Hook:
    """Something that happens every so many images, or every so many seconds, between loops.

    Attributes:
        every: Images between two calls, rounded up to whole steps; None goes by `seconds` alone.
        call: Is given a report.
        name: For messages.
        seconds: Least time between two calls, looked at after every compiled call.
    """

    every: int | None
    call: Callable[[Report], None]
    name: str = ""
    seconds: float | None = None


class Diverged(UserError):
    """A loss is no longer a number."""


@dataclasses.dataclass(frozen=True)
class _Call:
    """What one call of the compiled function gave, on the host, or several.

    Attributes:
        steps: Steps that it made.
        skipped: Those of them that were taken back.
        seconds: Time that it took.
        waited: Part of it in which the devices waited for data; not a number where unknown.
        sums: Sums of the scalars of the steps that were not taken back.
    """

    steps: int = 0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    sums: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def plus(self, other: "_Call") -> "_Call":
        """Returns both together."""
        return _Call(
            steps=self.steps + other.steps,
            skipped=self.skipped + other.skipped,
            seconds=self.seconds + other.seconds,
            waited=self.waited + other.waited,
            sums={name: self.sums.get(name, 0.0) + value for name, value in other.sums.items()},
        )

    def means(self) -> dict[str, float]:
        """Returns the scalars of the steps that count."""
        counted = self.steps - self.skipped
        return {name: value / counted for name, value in self.sums.items()} if counted else {}


class _Turn:
    """When a hook is to be called next, and what happened since it was called."""

    def __init__(self, hook: Hook, images: int) -> None:
        self.hook = hook
        self.begin(images)

    def begin(self, images: int) -> None:
        """Starts anew at a count of images."""
        every = self.hook.every
        self.goal = math.inf if every is None else (images // every + 1) * every
        self._until = math.inf if self.hook.seconds is None else _now() + self.hook.seconds
        self.total = _Call()

    def is_late(self) -> bool:
        """Tells whether its time is over."""
        return _now() >= self._until


def _now() -> float:
    # Not the time of day, which may go back.
    return time.monotonic()


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
        most_skips: Steps in a row that may be skipped, where the step skips any.
        several_workers: Other processes run the same loop: whether to stop, and whether a hook's
            time is over, is agreed with them, for a worker that went its own way would leave the
            others waiting.
        watch: Holds each call of the compiled function, given its steps, and each agreement (0).
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
        most_skips: int = 1,
        several_workers: bool = False,
        watch: Callable[[int], contextlib.AbstractContextManager[None]] | None = None,
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
        self._most_skips = most_skips
        self._skips_in_a_row = 0
        self._several_workers = several_workers
        self._watch = watch or (lambda steps: contextlib.nullcontext())
        self._vote = _vote(strategy)
        self._names = step.metric_names
        self._run_steps = _run_steps(strategy, step, state, step_images, jit_compile)

    def run(
        self,
        iterator: tf.data.Iterator,
        total_images: int,
        hooks: Sequence[Hook],
        on_progress: Callable[[int, Mapping[str, float]], None] = lambda images, metrics: None,
        stop: Callable[[], bool] = lambda: False,
        on_skipped: Callable[[int, int, str], None] = lambda images, steps, names: None,
    ) -> None:
        """Trains until `total_images` have been seen.

        Args:
            iterator: Yields distributed batches, beginning at the state's count of images.
            total_images: Where to stop; rounded up to whole steps.
            hooks: Called in order whenever their interval is over, and all of them at the end.
            on_progress: Called after every compiled call with the images done in it and the
                means of its scalars.
            stop: Looked at after every compiled call; once it is true, the run ends there.
            on_skipped: Called after a compiled call in which steps were skipped, with the images
                seen, the number of steps, and which scalars were not finite in the first of them.

        Raises:
            Diverged: A scalar is not finite, or too many steps in a row were skipped; nothing is
                saved after it.
        """
        images = self._state.images_seen
        turns = [_Turn(hook, images) for hook in hooks]
        while images < total_images and not self.agreed([stop()])[0]:
            goal = min([total_images, *(turn.goal for turn in turns)])
            steps = min(self._steps_per_loop, math.ceil((goal - images) / self._step_images))
            call = self._call(iterator, steps, on_skipped)
            images = self._state.images_seen
            on_progress(steps * self._step_images, call.means())
            last = images >= total_images
            for turn in turns:
                turn.total = turn.total.plus(call)
            late = self.agreed([turn.is_late() for turn in turns])
            for turn, is_late in zip(turns, late, strict=True):
                if images >= turn.goal or is_late or last:
                    turn.hook.call(self._report(turn.total, images, last))
                    turn.begin(images)

    def _call(
        self, iterator: tf.data.Iterator, steps: int, on_skipped: Callable[[int, int, str], None]
    ) -> _Call:
        """Makes some steps and waits for them."""
        start = _now()
        arguments = (iterator, tf.constant(steps), tf.constant(self._skips_in_a_row))
        with self._watch(steps):
            results = self._run_steps(*arguments)
            totals, first_broken, broken, waited, in_a_row, most_in_a_row = results
            # Reading the result waits for the device; the clock is read after that.
            sums = dict(zip(self._names, totals.numpy().tolist(), strict=True))
        seconds = _now() - start
        names = [name for name, bad in zip(self._names, broken.numpy(), strict=True) if bad]
        which = ", ".join(names) or "a weight"
        images = self._state.images_seen
        skipped = round(sums.pop(SKIPPED, 0.0))
        if skipped:
            on_skipped(images, skipped, which)
        elif int(first_broken) >= 0:
            whole = images - (steps - int(first_broken)) * self._step_images
            raise self._diverged(whole, f"{which} is not finite")
        self._skips_in_a_row = int(in_a_row)
        if int(most_in_a_row) > self._most_skips:
            whole = images - steps * self._step_images
            raise self._diverged(
                whole,
                f"{int(most_in_a_row)} steps in a row were skipped because {which} was not "
                "finite, more than guards.most_skips allows",
            )
        return _Call(steps, skipped, seconds, float(waited), sums)

    def agreed(self, wishes: Sequence[bool]) -> list[bool]:
        """Returns which of some wishes any worker has; all workers have to ask."""
        if not self._several_workers or not wishes:
            return list(wishes)
        with self._watch(0):
            votes = self._vote(tf.constant([float(wish) for wish in wishes])).numpy()
        return [bool(vote > 0) for vote in votes]

    def _report(self, total: _Call, images: int, last: bool) -> Report:
        seconds = max(total.seconds, 1e-9)
        return Report(
            images=images,
            epoch_images=self._epoch_images,
            metrics=total.means(),
            images_per_second=total.steps * self._step_images / seconds,
            last=last,
            waiting=None if math.isnan(total.waited) else min(total.waited / seconds, 1.0),
        )

    def _diverged(self, images: int, what: str) -> Diverged:
        return Diverged(
            f"Training diverged in step {images // self._step_images + 1:,}, after {images:,} "
            f"images: {what}. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or use --precision float32."
        )


def _run_steps(
    strategy: tf.distribute.Strategy,
    step: ReplicaStep,
    state: TrainingState,
    step_images: int,
    jit_compile: bool,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Builds the compiled function that makes any number of steps."""
    replica_step = tf.function(step, jit_compile=True) if jit_compile else step
    names = step.metric_names
    skips = SKIPPED in names
    idle, arrived = _clock()

    @tf.function
    def run_steps(
        iterator: tf.data.Iterator, count: tf.Tensor, in_a_row: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        # The loop stands outside `strategy.run`, and its length is a tensor: one trace
        # serves every length.
        sums = tf.zeros([len(names)])
        first_broken = tf.constant(-1)
        broken = tf.zeros([len(names)], tf.bool)
        waited = tf.zeros([], tf.float64)
        most_in_a_row = in_a_row
        for index in tf.range(count):
            since = idle(sums)
            batches = [next(iterator) for _ in range(step.batches)]
            waited += arrived(since, batches)
            results = strategy.run(replica_step, args=tuple(batches))
            values = tf.stack(
                [
                    strategy.reduce(tf.distribute.ReduceOp.SUM, results[name], axis=None)
                    for name in names
                ]
            )
            # After the first step that goes wrong everything is wrong: remember that one.
            not_finite = tf.logical_not(tf.math.is_finite(values))
            bad = tf.reduce_any(not_finite)
            if skips:
                bad = values[-1] > 0.5
                values = tf.where(bad, tf.one_hot(len(names) - 1, len(names)), values)
                in_a_row = tf.where(bad, in_a_row + 1, 0)
                most_in_a_row = tf.maximum(most_in_a_row, in_a_row)
            sums += values
            first = tf.logical_and(first_broken < 0, bad)
            first_broken = tf.where(first, index, first_broken)
            broken = tf.where(first, not_finite, broken)
            state.images.assign_add(step_images)
        return sums, first_broken, broken, waited, in_a_row, most_in_a_row

    return run_steps


def _clock() -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """Returns functions that tell, inside a graph, how long a batch was waited for.

    The first one gives the time at which some result of a step is there; the second one takes it
    and gives the seconds from then until the next batch is there. Nothing waits for these clocks:
    where a batch was there before the result, they say about 0.
    """
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        unknown = float("nan")
        return lambda result: unknown, lambda since, batch: tf.constant(unknown, tf.float64)
    has_gpu = bool(tf.config.list_logical_devices("GPU"))

    def idle(result: tf.Tensor) -> tf.Tensor:
        if has_gpu:
            # A GPU's kernel counts as run once it is queued; its result on the host does not.
            with tf.device("CPU:0"):
                result = tf.identity(result)
        with tf.control_dependencies([result]):
            return tf.timestamp()

    def arrived(since: tf.Tensor, batch: Any) -> tf.Tensor:
        with tf.control_dependencies([since, *tf.nest.flatten(batch, expand_composites=True)]):
            return tf.timestamp() - since

    return idle, arrived


def _vote(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Builds the function that adds up what the replicas of all workers want."""

    @tf.function
    def vote(wishes: tf.Tensor) -> tf.Tensor:
        copies = strategy.run(tf.identity, args=(wishes,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

    return vote
