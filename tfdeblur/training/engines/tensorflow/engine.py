"""The TensorFlow engine: steps in one `tf.function`, on the replicas of a strategy."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.config.train import RuntimeConfig
from tfdeblur.data.inputs import advise_on_reading
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.execution.tensorflow import TensorFlowExecutor
from tfdeblur.io import files
from tfdeblur.objectives.objective import Objective
from tfdeblur.ops import devices
from tfdeblur.ops.precision import Precision, require_full_float32
from tfdeblur.training.engines.engine import SKIPPED, Engine, StepPlan, StepResults
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.errors import explain_failure
from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
from tfdeblur.training.state import TrainingState

# Ends a text of `gather`; no byte of UTF-8 has this value.
_END = 0xFF


class TensorFlowEngine(Engine):
    """Runs a replica's step under a distribution strategy.

    Args:
        strategy: Places the step on devices; `start` creates the configured one if unset.
        jit_compile: Compile the replica's step with XLA (one device; on a TPU it always is). Set
            by `start` from `runtime.xla`.
    """

    versions: Mapping[str, str] = {"TensorFlow": tf.__version__}

    def __init__(
        self, strategy: tf.distribute.Strategy | None = None, jit_compile: bool = False
    ) -> None:
        self._strategy: Any = strategy
        self._jit_compile = jit_compile
        if strategy is not None:
            self._connect(strategy)

    def meeting_place(self, config: RuntimeConfig) -> tuple[list[str], int]:
        """Returns the workers of `TF_CONFIG` if the configured strategy spans them."""
        return runtime.meeting_place(config.strategy, config.tpu)

    def start(self, seed: int, config: RuntimeConfig, global_batch: int | None = None) -> None:
        """Seeds TensorFlow and creates the strategy, unless there is one."""
        # AutoGraph converts a `tf.function` of the user's own in a temporary file.
        files.check_temporary_folder()
        # Before device discovery, after which deterministic ops cannot be enabled.
        runtime.seed_everything(seed, config.deterministic)
        self._jit_compile = config.xla == "on"
        if self._strategy is None:
            self._connect(runtime.make_strategy(config.strategy, config.tpu, global_batch))

    def _connect(self, strategy: tf.distribute.Strategy) -> None:
        require_full_float32()
        self._strategy = strategy
        self.devices = strategy.num_replicas_in_sync
        self.worker_names, self.worker_index = runtime.places(strategy)

    def resolve_precision(self, requested: Precision) -> str:
        """Returns bfloat16 on TPUs and GPUs that support it if `requested` is ``auto``."""
        return runtime.resolve_precision(requested, self._strategy)

    def summary(self) -> str:
        """Returns one line about devices and versions."""
        return devices.device_summary(self._strategy)

    def gather(self, text: str) -> list[str]:
        """Returns the texts of all workers, in the order of their names."""
        # Every device has collectives for float32, which holds bytes exactly.
        own = tf.constant([*f"{self.worker_index} {text}".encode(), _END], tf.float32)
        copies = self._strategy.run(tf.identity, args=(own,))
        joined = self._strategy.gather(copies, axis=0).numpy().astype(np.uint8).tobytes()
        texts = {}
        for part in joined.split(bytes([_END]))[:-1]:
            # Each replica of a worker contributes a copy.
            index, _, answer = part.decode().partition(" ")
            texts[int(index)] = answer
        return [texts[index] for index in range(len(self.worker_names))]

    def any_worker(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker."""
        counts = self._add_up(tf.constant([float(flag) for flag in flags])).numpy()
        return [bool(count > 0) for count in counts]

    def executor(self) -> TensorFlowExecutor:
        """Returns an executor on the replicas of this process."""
        # Each worker of a cluster evaluates the full split: workers with unequal numbers of
        # batches would wait for each other.
        return TensorFlowExecutor(None if self.several_workers else self._strategy)

    def explain_failure(self, error: Exception) -> UserError | None:
        """Explains errors about memory and lost workers."""
        return explain_failure(error, self.several_workers)

    def scope(self) -> AbstractContextManager[Any]:
        """Returns the strategy's scope."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def compile(self, state: TrainingState, objective: Objective, plan: StepPlan) -> None:
        """Prepares the function that runs steps; it is traced by the first call.

        Raises:
            ConfigError: XLA is requested for several replicas, or `remat`.
        """
        if self._jit_compile and self.devices > 1:
            raise ConfigError(
                "runtime.xla: TensorFlow compiles the step with XLA on one device only (and on "
                "TPUs, where it always does). Leave it at 'auto'."
            )
        if plan.remat:
            raise ConfigError(
                "training.remat: TensorFlow keeps the activations of a network. Use --engine jax, "
                "or set training.replica_batch, which accumulates gradients."
            )
        self._names = plan.metric_names(objective)
        self._run_steps = _run_steps(
            self._strategy,
            ReplicaStep(objective, state, plan),
            state,
            plan.batches(objective),
            self._names,
            plan.step_images(objective),
            self._jit_compile,
        )
        self._add_up = _add_up(self._strategy)

    def batches(
        self, data: TrainingData, start_image: int, plan: StepPlan
    ) -> Iterator[tf.distribute.DistributedValues]:
        """Returns the data in distributed batches, one element per replica."""
        share = plan.global_batch // self.devices

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            advise_on_reading(data, context.input_pipeline_id, context.num_input_pipelines)
            return data.dataset(
                share,
                start_image=start_image,
                global_batch=plan.global_batch,
                host=context.input_pipeline_id,
                hosts=context.num_input_pipelines,
            )

        return iter(self._strategy.distribute_datasets_from_function(of_host))

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


def _run_steps(
    strategy: tf.distribute.Strategy,
    step: ReplicaStep,
    state: TrainingState,
    batches: int,
    names: Sequence[str],
    step_images: int,
    jit_compile: bool,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Builds the compiled function that runs any number of steps."""
    replica_step = tf.function(step, jit_compile=True, autograph=False) if jit_compile else step
    skips = SKIPPED in names
    idle, arrived = _clock()

    # Without AutoGraph, as in Keras: it would rewrite the source of every function below.
    @tf.function(autograph=False)
    def run_steps(
        iterator: tf.data.Iterator, count: tf.Tensor, in_a_row: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        def run_step(
            index: tf.Tensor,
            sums: tf.Tensor,
            first_broken: tf.Tensor,
            broken: tf.Tensor,
            waited: tf.Tensor,
            in_a_row: tf.Tensor,
            max_in_a_row: tf.Tensor,
        ) -> tuple[tf.Tensor, ...]:
            since = idle(sums)
            taken = [next(iterator) for _ in range(batches)]
            waited += arrived(since, taken)
            results = strategy.run(replica_step, args=tuple(taken))
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
            first = tf.logical_and(first_broken < 0, bad)
            first_broken = tf.where(first, index, first_broken)
            broken = tf.where(first, not_finite, broken)
            state.images.assign_add(step_images)
            return index + 1, sums + values, first_broken, broken, waited, in_a_row, max_in_a_row

        # The loop is outside `strategy.run`, and its length is a tensor: one trace serves every
        # length.
        _, *results = tf.while_loop(
            lambda index, *_: index < count,
            run_step,
            (
                tf.constant(0),
                tf.zeros([len(names)]),
                tf.constant(-1),
                tf.zeros([len(names)], tf.bool),
                tf.zeros([], tf.float64),
                in_a_row,
                in_a_row,
            ),
        )
        return tuple(results)

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


def _add_up(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Builds the function that adds up flags over the replicas of all workers."""

    @tf.function(autograph=False)
    def add_up(flags: tf.Tensor) -> tf.Tensor:
        copies = strategy.run(tf.identity, args=(flags,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

    return add_up
