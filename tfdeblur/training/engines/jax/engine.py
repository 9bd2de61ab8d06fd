"""The JAX engine: the step of all devices as one program, divided by XLA."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tfdeblur.config.backend import is_installed
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.data.inputs import advise_on_reading
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError, UserError, reason_of
from tfdeblur.execution.jax import BATCH, JaxExecutor
from tfdeblur.objectives.objective import Objective
from tfdeblur.ops.precision import POLICIES, Precision
from tfdeblur.training.engines import cluster
from tfdeblur.training.engines.engine import (
    Engine,
    StepPlan,
    StepResults,
    out_of_memory,
    worker_lost,
)
from tfdeblur.training.engines.jax.train_step import TrainStep, Values
from tfdeblur.training.engines.jax.wide_sums import widened
from tfdeblur.training.state import TrainingState

logger = logging.getLogger(__name__)

# The first NVIDIA GPUs that compute in bfloat16 (Ampere).
_BFLOAT16_CAPABILITY = 8.0
# The axis of devices that compute the same, beside that of the batch.
_COPIES = "copies"
# In the messages of JAX when another process, or the connection to it, is gone.
_SIGNS_OF_LOSS = (
    *("unavailable", "aborted", "cancelled", "deadline_exceeded", "heartbeat"),
    *("gloo", "nccl", "coordination", "connection", "socket", "broken pipe"),
)


class JaxEngine(Engine):
    """Runs steps on a mesh of all devices of the job, over which each batch is divided.

    Variables of Keras hold the state between two calls of `run_steps`.
    """

    versions: Mapping[str, str] = {"JAX": jax.__version__}
    failures = (jax.errors.JaxRuntimeError,)

    # ------------------------------------------------------------------------- devices, processes

    def meeting_place(self, config: RuntimeConfig) -> tuple[list[str], int]:
        """Returns the workers of `TF_CONFIG` unless one process is configured."""
        addresses, place = cluster.read()
        if len(addresses) < 2 or config.strategy not in ("auto", "multi_worker"):
            return [], 0
        cluster.refuse_outsider(addresses, place)
        return addresses, place or 0

    def listens(self, index: int) -> bool:
        """Returns whether a worker is the first, to which the others connect."""
        return index == 0

    def start(self, seed: int, config: RuntimeConfig, global_batch: int | None = None) -> None:
        """Seeds Keras, connects the processes and selects the devices.

        Raises:
            ConfigError: The strategy does not fit the machine, or `runtime.tpu` names an address.
            UserError: There is no TPU.
        """
        if config.deterministic:
            _make_deterministic()
        if config.tpu not in (None, "local"):
            raise ConfigError(
                f"runtime.tpu: JAX uses the TPU of its own machine, not {config.tpu!r}. Run the "
                "same command on every host of the TPU, with --tpu."
            )
        _hide_devices_from_tensorflow()
        keras.utils.set_random_seed(seed)
        self._connect(config)
        if "tpu" in (config.strategy, config.tpu and "tpu"):
            _require_tpu()
        if config.strategy == "one":
            self.use(jax.local_devices()[:1])
        elif global_batch is None:
            self.use(jax.devices())
        else:
            self.use(*_shared_by(jax.devices(), global_batch))

    def use(self, devices: Sequence[jax.Device], copies: int = 1) -> None:
        """Selects the devices that share each batch.

        Args:
            devices: The devices. Each `copies` in a row, of different processes, compute the same.
            copies: Processes that read the same part of a batch.
        """
        self.devices, self._copies_of_part = len(devices) // copies, copies
        grid = np.array(devices).reshape(self.devices, copies)
        self._mesh = Mesh(grid, (BATCH, _COPIES))
        self._copies = NamedSharding(self._mesh, PartitionSpec())
        self._parts = NamedSharding(self._mesh, PartitionSpec(BATCH))

    def _connect(self, config: RuntimeConfig) -> None:
        """Connects the processes of the job."""
        addresses, place = self.meeting_place(config)
        if addresses or config.strategy == "multi_worker":
            if jax.config.jax_platforms == "cpu":
                jax.config.update("jax_cpu_collectives_implementation", "gloo")
            # Without addresses JAX asks the machine: a slice of TPUs, Slurm or Open MPI.
            job = (addresses[0], len(addresses), place) if addresses else ()
            timeout = math.ceil(60 * config.worker_minutes)
            try:
                jax.distributed.initialize(*job, initialization_timeout=timeout)
            except ValueError:
                cluster.require(addresses)
                raise
        self.worker_index = jax.process_index()
        count = jax.process_count()
        if count > 1:
            names = ("the chief", *(f"worker {index}" for index in range(1, count)))
            self.worker_names = names

    @property
    def batch_parts(self) -> int:
        """Parts of a global batch that different processes read."""
        return len(self.worker_names) // self._copies_of_part

    def resolve_precision(self, requested: Precision) -> str:
        """Returns bfloat16 on TPUs and GPUs that support it if `requested` is ``auto``."""
        if requested != "auto":
            return POLICIES[requested]
        platform = jax.default_backend()
        if platform == "tpu":
            return POLICIES["bfloat16"]
        if platform == "gpu":
            if _has_bfloat16(jax.devices()[0]):
                return POLICIES["bfloat16"]
            logger.warning(
                "%s computes in float32: bfloat16 units require compute capability 8.0.",
                jax.devices()[0].device_kind,
            )
        return POLICIES["float32"]

    def summary(self) -> str:
        """Returns one line about devices and versions."""
        kind = self._mesh.devices.flat[0].device_kind
        processes = len(self.worker_names)
        where = f" in {processes} processes" if processes > 1 else ""
        return f"{self.devices} x {kind}{where}; JAX {jax.__version__}, Keras {keras.__version__}"

    def gather(self, text: str) -> list[str]:
        """Returns the texts of all workers, in the order of their names."""
        from jax.experimental import multihost_utils

        own = np.frombuffer(text.encode(), np.uint8)
        lengths = multihost_utils.process_allgather(np.array([own.size], np.int32)).reshape(-1)
        padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
        padded[: own.size] = own
        rows = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
        return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]

    def any_worker(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker."""
        from jax.experimental import multihost_utils

        rows = multihost_utils.process_allgather(np.array(flags, np.int32))
        return [bool(flag) for flag in rows.reshape(-1, len(flags)).any(axis=0)]

    def executor(self) -> JaxExecutor:
        """Returns an executor on the devices of this process."""
        # Each process evaluates the full split: processes with unequal numbers of batches would
        # wait for each other.
        local = [d for d in self._mesh.devices.flat if d.process_index == jax.process_index()]
        return JaxExecutor(local)

    def explain_failure(self, error: Exception) -> UserError | None:
        """Explains errors about memory and lost workers."""
        if not isinstance(error, jax.errors.JaxRuntimeError):
            return None
        reason = reason_of(error)
        if "RESOURCE_EXHAUSTED" in str(error):
            return out_of_memory(reason)
        lost = self.several_workers and any(word in str(error).lower() for word in _SIGNS_OF_LOSS)
        return worker_lost(reason) if lost else None

    # --------------------------------------------------------------------------- training steps

    def compile(self, state: TrainingState, objective: Objective, plan: StepPlan) -> None:
        """Prepares the step; it is traced and compiled by the first call."""
        self._step = TrainStep(objective, state, plan, self._mesh)
        self._global_batch = plan.global_batch
        self._batches = plan.batches(objective)
        self._step_images = plan.step_images(objective)
        self._program: Any = None

    def batches(
        self, data: TrainingData, start_image: int, plan: StepPlan
    ) -> Iterator[dict[str, jax.Array]]:
        """Returns global batches, of which this process reads its part."""
        advise_on_reading(data, self.worker_index, self.batch_parts)
        batches = data.batches(
            plan.global_batch // self.batch_parts,
            start_image=start_image,
            global_batch=plan.global_batch,
            host=self.worker_index // self._copies_of_part,
            hosts=self.batch_parts,
        )
        for batch in batches:
            yield {
                half: jax.make_array_from_process_local_data(self._parts, batch[half])
                for half in ("blurred", "sharp")
            }

    def run_steps(self, batches: Iterator[Any], steps: int, skips_in_a_row: int) -> StepResults:
        """Runs steps one after another; the host prepares a batch while the devices compute."""
        values = self._values()
        rows: list[jax.Array] = []
        waited = 0.0
        try:
            for _ in range(steps):
                idle = not rows or rows[-1].is_ready()
                since = time.monotonic()
                taken = [next(batches) for _ in range(self._batches)]
                waited += time.monotonic() - since if idle else 0.0
                # Passed as separate arrays, so that stacking them is part of the program.
                if self._program is None:
                    self._program = self._jit(taken)
                    values = {**self._values(), **values}
                values, row = self._program(values, taken)
                rows.append(row)
        finally:
            # The old values were donated to the program.
            for name, value in values.items():
                self._step.variables[name].assign(value)
        table = np.stack([np.asarray(row) for row in rows])
        return StepResults.from_table(self._step.names, table, skips_in_a_row, waited)

    def _values(self) -> Values:
        """Returns the values of all variables, a copy on every device."""
        return {
            name: _on_all(variable.value, self._copies)
            for name, variable in self._step.variables.items()
        }

    def trace(self, height: int, width: int) -> Any:
        """Traces the step without arrays, also for devices that are not attached.

        Args:
            height: Height of a sample in pixels.
            width: Width of a sample in pixels.

        Returns:
            A `jax.stages.Traced`, to lower and compile ahead of time.
        """
        shape = (self._global_batch, height, width, 3)
        half = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=self._parts)
        batches = [{"blurred": half, "sharp": half} for _ in range(self._batches)]
        program = self._jit(batches)
        return program.trace(self._shapes(), batches)

    def _jit(self, batches: Sequence[Any]) -> Any:
        """Returns the program of a step, a function of the values of all variables and batches.

        Args:
            batches: The batches of a step, or their shapes.
        """

        def program(values: Values, batches: Sequence[Any]) -> tuple[Values, jax.Array]:
            stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *batches)
            values, row = self._step(values, stacked)
            return values, row

        if keras.config.dtype_policy().compute_dtype == "bfloat16":
            (platform,) = {device.platform for device in self._copies.device_set}
            program = widened(program, cpu=platform == "cpu")
        # Networks that are not trained, such as VGG19, become arguments: constants of that size
        # would be compiled into the program.
        jax.eval_shape(program, self._shapes(), batches)
        for index, variable in enumerate(self._step.frozen.values()):
            self._step.variables[f"frozen/{index}"] = variable
        shardings = ({name: self._copies for name in self._step.variables}, self._copies)
        return jax.jit(program, donate_argnums=0, out_shardings=shardings)

    def _shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes of all variables."""
        return {
            name: jax.ShapeDtypeStruct(
                variable.value.shape, variable.value.dtype, sharding=self._copies
            )
            for name, variable in self._step.variables.items()
        }


def _shared_by(devices: Sequence[jax.Device], global_batch: int) -> tuple[list[jax.Device], int]:
    """Returns devices that can share a batch equally, as many of each process, and their copies.

    Without `TF_CONFIG`, JAX connects all hosts of a slice of TPUs, and none can leave: each waits
    for all others when it starts, compares settings and stops. Processes that would have no part
    of their own therefore compute what another one computes; see `JaxEngine.use`.
    """
    own: dict[int, list[jax.Device]] = {}
    for device in devices:
        own.setdefault(device.process_index, []).append(device)
    parts = cluster.parts(len(own), global_batch)
    copies = len(own) // parts
    smallest = min(map(len, own.values()))
    count = len(cluster.sharing(range(smallest), global_batch, parts))
    if copies == 1:
        return [d for d in devices if d in own[d.process_index][:count]], 1
    rows = [own[process][:count] for process in sorted(own)]
    grid = np.array(rows, object).reshape(parts, copies, count)
    return list(grid.swapaxes(1, 2).flat), copies


def _has_bfloat16(gpu: jax.Device) -> bool:
    # Only NVIDIA GPUs report a number; other supported GPUs are recent enough.
    try:
        return float(gpu.compute_capability) >= _BFLOAT16_CAPABILITY
    except (AttributeError, TypeError, ValueError):
        return True


def _require_tpu() -> None:
    """Checks that JAX's default devices are TPUs.

    Raises:
        UserError: They are not.
    """
    try:
        jax.devices("tpu")
    except RuntimeError as error:
        remedy = "python -m tfdeblur.doctor --tpu looks for the cause."
        if not is_installed("libtpu"):
            remedy = 'It needs libtpu: pip install "tfdeblur[jax-tpu]".'
        raise UserError(
            f"This machine has no TPU that JAX {jax.__version__} can use "
            f"({reason_of(error)}). {remedy}"
        ) from error


def _on_all(value: jax.Array, sharding: NamedSharding) -> jax.Array:
    """Copies an array to all devices of a mesh, which may belong to several processes."""
    if value.is_fully_addressable and not sharding.is_fully_addressable:
        return jax.make_array_from_process_local_data(sharding, np.asarray(value))
    return jax.device_put(value, sharding)


def _hide_devices_from_tensorflow() -> None:
    """Keeps TensorFlow, which reads the data, off the accelerators, whose memory it would take."""
    try:
        import tensorflow as tf
    except ImportError:
        return
    for kind in ("GPU", "TPU"):
        # Too late if TensorFlow has started already, which only a notebook can do.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.set_visible_devices([], kind)


def _make_deterministic() -> None:
    """Selects deterministic kernels on GPUs; CPUs and TPUs have no others."""
    flag = "--xla_gpu_deterministic_ops=true"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
