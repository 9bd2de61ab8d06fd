"""Program: converts the training step of one replica to HLO, with TensorFlow and without a TPU.

The step is the function that the TensorFlow engine passes to `strategy.run`: a run is built as
for training, the loop is started, and a strategy records the function instead of running it.
Nothing is trained and no data are read.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from tfdeblur import config
from tfdeblur.config import PlugIn, TrainConfig
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses
from tfdeblur.ops.precision import POLICIES, precision_scope
from tfdeblur.training import trainer
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

# Durations in epochs require a number of records. The step depends on it only through constants of
# the schedule.
_RECORDS = 100_000

_UNSUPPORTED = re.compile(r"(\w+) \(No registered '\w+' OpKernel for XLA_\w+_JIT")


class _Recorded(Exception):
    """Ends the loop after the step is recorded."""


class _RecordingStrategy(tf.distribute.OneDeviceStrategy):
    """One device that records a function instead of running it."""

    def __init__(self) -> None:
        super().__init__("/cpu:0")
        self.step: Callable[..., Any] | None = None
        self.arguments: tuple[Any, ...] = ()

    @tf.autograph.experimental.do_not_convert
    def run(
        self, fn: Callable[..., Any], args: Any = (), kwargs: Any = None, options: Any = None
    ) -> Any:
        """Records the function and its arguments."""
        del kwargs, options
        self.step, self.arguments = fn, tuple(args)
        raise _Recorded


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """The properties of a data set that a run uses before it reads records."""

    height: int
    width: int
    records: int = _RECORDS

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Returns nothing: no checkpoint is written."""
        return {}


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A step as HLO.

    Attributes:
        hlo: Serialized HLO module.
        fingerprint: See `fingerprint`.
        images: Images per step.
        parameters: Number of parameters of all networks that are trained.
    """

    hlo: bytes
    fingerprint: str
    images: int
    parameters: int


def lower(run_config: TrainConfig, height: int, width: int) -> Lowered:
    """Returns the step of a run on one replica.

    Args:
        run_config: The run; its global batch is the share of one replica.
        height: Height of a sample in pixels.
        width: Width of a sample in pixels.

    Raises:
        UserError: TensorFlow cannot compile an operation of the step; the message names it.
        ConfigError: The run's settings are inconsistent.
    """
    strategy = _RecordingStrategy()
    chosen = run_config.runtime.precision
    policy = POLICIES["bfloat16" if chosen == "auto" else chosen]
    with tempfile.TemporaryDirectory() as folder, precision_scope(policy):
        prepared = _without_files(run_config, folder)
        data = cast(TrainingData, _Sizes(height, width))
        run = trainer.Trainer(prepared, train_data=data, engine=TensorFlowEngine(strategy))
        run.prepare()
        run.build()
        batch = run.plan.global_batch
        shape = (batch, height, width, 3)
        blank = tf.data.Dataset.from_tensors(
            {half: tf.zeros(shape, tf.uint8) for half in ("blurred", "sharp")}
        ).repeat()
        with contextlib.suppress(_Recorded):
            run.loop.run(iter(blank), run.step_images, [])
        if strategy.step is None:
            raise RuntimeError("The engine did not pass its step to the strategy.")
        hlo = _hlo(strategy, strategy.step, strategy.arguments)
        parameters = sum(p.network.count_params() for p in run.state.networks.values())
        return Lowered(hlo, fingerprint(hlo), run.step_images, parameters)


def _hlo(
    strategy: _RecordingStrategy, step: Callable[..., Any], arguments: tuple[Any, ...]
) -> bytes:
    """Returns the step as a serialized HLO module, without compiling it."""
    flat = tf.nest.flatten(arguments)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in flat]

    @tf.function(jit_compile=True)
    def replica(*tensors: tf.Tensor) -> Any:
        batches = tf.nest.pack_sequence_as(arguments, list(tensors))
        return tf.distribute.OneDeviceStrategy.run(strategy, step, args=batches)

    try:
        module: bytes = replica.experimental_get_compiler_ir(*specs)(stage="hlo_serialized")
        return module
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(explain(str(error))) from error


def explain(message: str) -> str:
    """Returns one sentence for the error of a step that TensorFlow cannot compile."""
    operations = sorted(set(_UNSUPPORTED.findall(message)))
    if operations:
        return f"TPUs do not support {', '.join(operations)}: remove it from the step"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"TensorFlow cannot compile the step: {lines[0] if lines else 'no reason given'}"


def _without_files(run_config: TrainConfig, folder: str) -> TrainConfig:
    """Drops settings that would read or download files: workdir, initial and VGG19 weights."""
    objective, precision = run_config.objective, run_config.runtime.precision
    options = objective.options
    if getattr(options, "losses", {}).get("perceptual"):
        path = os.path.join(folder, "vgg19.npz")
        _write_blank_vgg19(path)
        perceptual = dataclasses.replace(options.perceptual, weights=path)
        options = dataclasses.replace(options, perceptual=perceptual)
    return dataclasses.replace(
        run_config,
        workdir=os.path.join(folder, "run"),
        objective=PlugIn(name=objective.name, options=options),
        training=dataclasses.replace(run_config.training, init_from=None),
        # XLA of the host must not compile the step before the TPU compiler does.
        runtime=dataclasses.replace(
            run_config.runtime,
            xla="auto",
            # The precision of a TPU, and no deterministic ops, which XLA lacks.
            precision="bfloat16" if precision == "auto" else precision,
            deterministic=False,
        ),
    )


def _write_blank_vgg19(path: str) -> None:
    """Writes VGG19 with zero weights, on which the cost of a step does not depend."""
    network = keras.applications.VGG19(weights=None, include_top=False)
    arrays: dict[str, Any] = {
        f"{layer.name}/{part}": np.zeros(weight.shape, np.float32)
        for layer in network.layers
        for part, weight in zip(("kernel", "bias"), layer.weights, strict=False)
    }
    np.savez(path, **arrays)


def fingerprint(hlo: bytes) -> str:
    """Returns the SHA-256 of an HLO module, ignoring names, ids and source lines.

    Tracing the same step again gives the same operations with other names.
    """
    from tensorflow.compiler.xla.service import hlo_pb2

    module = hlo_pb2.HloModuleProto.FromString(hlo)
    digest = hashlib.sha256()
    numbers: dict[int, int] = {}
    for computation in module.computations:
        for instruction in computation.instructions:
            numbers[instruction.id] = len(numbers)
        numbers[computation.id] = len(numbers)
    for computation in module.computations:
        for instruction in computation.instructions:
            operands = [numbers[number] for number in instruction.operand_ids]
            called = [numbers[number] for number in instruction.called_computation_ids]
            instruction.ClearField("metadata")
            instruction.ClearField("name")
            instruction.ClearField("id")
            instruction.ClearField("operand_ids")
            instruction.ClearField("called_computation_ids")
            digest.update(instruction.SerializeToString(deterministic=True))
            digest.update(repr((operands, called)).encode())
    return digest.hexdigest()


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    run_config = config.resolve(request["config"])
    lowered = lower(run_config, request["height"], request["width"])
    with open(request["hlo"], "wb") as file:
        file.write(lowered.hlo)
    return {
        "fingerprint": lowered.fingerprint,
        "images": lowered.images,
        "parameters": lowered.parameters,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
