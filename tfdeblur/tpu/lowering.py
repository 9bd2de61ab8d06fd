"""Program: converts the training step of one replica to HLO, with TensorFlow and without a TPU.

The step is the function that the TensorFlow engine passes to `strategy.run`: a run is built as
for training, the loop is started, and a strategy records the function instead of running it.
Nothing is trained and no data are read.
"""

import contextlib
import dataclasses
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdeblur import config
from tfdeblur.config import TrainConfig
from tfdeblur.errors import UserError
from tfdeblur.io import subprocesses
from tfdeblur.ops.precision import POLICIES, precision_scope
from tfdeblur.tpu import runs
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

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
class Lowered:
    """A step as HLO.

    Attributes:
        hlo: Serialized HLO module.
        images: Images per step.
        parameters: Number of parameters of all networks that are trained.
    """

    hlo: bytes
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
        run = runs.build(run_config, height, width, TensorFlowEngine(strategy), folder)
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
        return Lowered(hlo, run.step_images, runs.count_parameters(run))


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


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    run_config = config.resolve(request["config"], plugins=request["config"].get("plugins", ()))
    lowered = lower(run_config, request["height"], request["width"])
    with open(request["hlo"], "wb") as file:
        file.write(lowered.hlo)
    return {
        "images": lowered.images,
        "parameters": lowered.parameters,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
