"""The TensorFlow engine: steps in one `tf.function`, on the replicas of a strategy."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.errors import ConfigError
from tfdeblur.training.engines.engine import SKIPPED, Engine, StepResults
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.state import TrainingState


class TensorFlowEngine(Engine):
    """Runs a replica's step under a distribution strategy.

    Args:
        strategy: Places the step on devices.
        step: One replica's update.
        state: Its image count is advanced after every step.
        step_images: Images that one step takes.
        jit_compile: Compile the replica's step with XLA (one device; on a TPU it always is).
        several_workers: Whether other processes run the same steps.

    Raises:
        ConfigError: `jit_compile` is set for several replicas.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step: ReplicaStep,
        state: TrainingState,
        *,
        step_images: int,
        jit_compile: bool = False,
        several_workers: bool = False,
    ) -> None:
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise ConfigError(
                "runtime.xla: TensorFlow compiles the step with XLA on one device only (and on "
                "TPUs, where it always does). Leave it at 'auto'."
            )
        self._names = step.metric_names
        self.several_workers = several_workers
        self._any_worker = _any_worker(strategy)
        self._run_steps = _run_steps(strategy, step, state, step_images, jit_compile)

    def run_steps(self, batches: Iterator[Any], steps: int, skips_in_a_row: int) -> StepResults:
        """Runs steps in one call of the compiled function."""
        results = self._run_steps(batches, tf.constant(steps), tf.constant(skips_in_a_row))
        totals, first, nonfinite, waited, in_a_row, max_in_a_row = results
        # Reading a result waits for the device.
        sums = dict(zip(self._names, totals.numpy().tolist(), strict=True))
        return StepResults(
            steps=steps,
            skipped=round(sums.pop(SKIPPED, 0.0)),
            sums=sums,
            skips_in_a_row=int(in_a_row),
            max_skips_in_a_row=int(max_in_a_row),
            first_nonfinite=int(first) if int(first) >= 0 else None,
            nonfinite=tuple(
                name for name, bad in zip(self._names, nonfinite.numpy(), strict=True) if bad
            ),
            waited=float(waited),
        )

    def any_worker(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker; all workers must call it."""
        counts = self._any_worker(tf.constant([float(flag) for flag in flags])).numpy()
        return [bool(count > 0) for count in counts]


def _run_steps(
    strategy: tf.distribute.Strategy,
    step: ReplicaStep,
    state: TrainingState,
    step_images: int,
    jit_compile: bool,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Builds the compiled function that runs any number of steps."""
    replica_step = tf.function(step, jit_compile=True) if jit_compile else step
    names = step.metric_names
    skips = SKIPPED in names
    idle, arrived = _clock()

    @tf.function
    def run_steps(
        iterator: tf.data.Iterator, count: tf.Tensor, in_a_row: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        # The loop is outside `strategy.run`, and its length is a tensor: one trace serves every
        # length.
        sums = tf.zeros([len(names)])
        first_broken = tf.constant(-1)
        broken = tf.zeros([len(names)], tf.bool)
        waited = tf.zeros([], tf.float64)
        max_in_a_row = in_a_row
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
            # Non-finite values spread to later steps, so only the first step is kept.
            not_finite = tf.logical_not(tf.math.is_finite(values))
            bad = tf.reduce_any(not_finite)
            if skips:
                bad = values[-1] > 0.5
                values = tf.where(bad, tf.one_hot(len(names) - 1, len(names)), values)
                in_a_row = tf.where(bad, in_a_row + 1, 0)
                max_in_a_row = tf.maximum(max_in_a_row, in_a_row)
            sums += values
            first = tf.logical_and(first_broken < 0, bad)
            first_broken = tf.where(first, index, first_broken)
            broken = tf.where(first, not_finite, broken)
            state.images.assign_add(step_images)
        return sums, first_broken, broken, waited, in_a_row, max_in_a_row

    return run_steps


def _clock() -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """Returns functions that measure, inside a graph, the wait for a batch.

    The first returns the time at which a result of a step is available. The second takes it and
    returns the seconds until the next batch is available. Nothing waits for these clocks: if a
    batch was available before the result, they give about 0. With deterministic ops, where
    TensorFlow does not allow timestamps, they give NaN.
    """
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        return lambda result: math.nan, lambda since, batch: tf.constant(math.nan, tf.float64)
    has_gpu = bool(tf.config.list_logical_devices("GPU"))

    def idle(result: tf.Tensor) -> tf.Tensor:
        if has_gpu:
            # A GPU kernel counts as run once it is queued; its result on the host does not.
            with tf.device("CPU:0"):
                result = tf.identity(result)
        with tf.control_dependencies([result]):
            return tf.timestamp()

    def arrived(since: tf.Tensor, batch: Any) -> tf.Tensor:
        with tf.control_dependencies([since, *tf.nest.flatten(batch, expand_composites=True)]):
            return tf.timestamp() - since

    return idle, arrived


def _any_worker(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Builds the function that adds up flags over the replicas of all workers."""

    @tf.function
    def add_up(flags: tf.Tensor) -> tf.Tensor:
        copies = strategy.run(tf.identity, args=(flags,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

    return add_up
