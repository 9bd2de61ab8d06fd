"""Program: turns one replica's training step into HLO, with TensorFlow and without a TPU.

The step is the very function that `tfdeblur.training.loop` hands to `strategy.run`: a run is put
together as for training, the loop is started, and a strategy that only listens keeps what it is
given. Nothing is trained and no data are read.
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
from tfdeblur.training import trainer
from tfdeblur.training.engines.tensorflow import runtime

# Records of the data set that is not there: durations in epochs need a number, the step does not
# depend on it but through the schedule's constants.
_RECORDS = 100_000

_UNSUPPORTED = re.compile(r"(\w+) \(No registered '\w+' OpKernel for XLA_\w+_JIT")


class _Seen(Exception):
    """Ends the loop once the step is known."""


class _ListeningStrategy(tf.distribute.OneDeviceStrategy):
    """One device that keeps what it is asked to run and does not run it."""

    def __init__(self) -> None:
        super().__init__("/cpu:0")
        self.step: Callable[..., Any] | None = None
        self.arguments: tuple[Any, ...] = ()

    @tf.autograph.experimental.do_not_convert
    def run(
        self, fn: Callable[..., Any], args: Any = (), kwargs: Any = None, options: Any = None
    ) -> Any:
        """Keeps the function and what it is given."""
        del kwargs, options
        self.step, self.arguments = fn, tuple(args)
        raise _Seen


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """As much of a data set as a run asks for before it reads."""

    height: int
    width: int
    records: int = _RECORDS


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A step as HLO.

    Attributes:
        hlo: Serialized HLO module.
        fingerprint: SHA-256 of what the module computes, names and source lines left out.
        images: Images that one step takes.
        parameters: Numbers in all networks that learn.
    """

    hlo: bytes
    fingerprint: str
    images: int
    parameters: int


def lower(run_config: TrainConfig, height: int, width: int) -> Lowered:
    """Returns the step of a run on one replica.

    Args:
        run_config: The run; its global batch is one replica's share.
        height: Rows of a sample.
        width: Columns of a sample.

    Raises:
        UserError: TensorFlow cannot compile an operation of the step for any device; it is named.
        ConfigError: The run's settings contradict each other.
    """
    strategy = _ListeningStrategy()
    chosen = run_config.runtime.precision
    policy = runtime.POLICIES["bfloat16" if chosen == "auto" else chosen]
    with tempfile.TemporaryDirectory() as folder, runtime.precision_scope(policy):
        prepared = _without_files(run_config, folder)
        data = cast(TrainingData, _Sizes(height, width))
        run = trainer.Run(prepared, strategy, data, prepared.workdir)
        batch = run.share
        shape = (batch, height, width, 3)
        blank = tf.data.Dataset.from_tensors(
            {half: tf.zeros(shape, tf.uint8) for half in ("blurred", "sharp")}
        ).repeat()
        with contextlib.suppress(_Seen):
            run.loop.run(iter(blank), run.step_images, [])
        if strategy.step is None:
            raise RuntimeError("The loop did not hand its step to the strategy.")
        hlo = _hlo(strategy, strategy.step, strategy.arguments)
        parameters = sum(p.network.count_params() for p in run.state.players.values())
        return Lowered(hlo, fingerprint(hlo), run.step_images, parameters)


def _hlo(
    strategy: _ListeningStrategy, step: Callable[..., Any], arguments: tuple[Any, ...]
) -> bytes:
    """Compiles nothing, but lets TensorFlow translate the step."""
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
    """Makes one sentence of TensorFlow's complaint about a step that it cannot compile."""
    operations = sorted(set(_UNSUPPORTED.findall(message)))
    if operations:
        return f"no TPU can run {', '.join(operations)}: take it out of the step"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"TensorFlow cannot compile the step: {lines[0] if lines else 'it says no more'}"


def _without_files(run_config: TrainConfig, folder: str) -> TrainConfig:
    """Leaves away what a run would read or download: its workdir, initial and VGG19's weights."""
    objective = run_config.objective
    options = dict(objective.options)
    if options.get("losses", {}).get("perceptual"):
        path = os.path.join(folder, "vgg19.npz")
        _write_blank_vgg19(path)
        options["perceptual"] = {**options.get("perceptual", {}), "weights": path}
    return dataclasses.replace(
        run_config,
        workdir=os.path.join(folder, "run"),
        objective=PlugIn(name=objective.name, options=options),
        training=dataclasses.replace(run_config.training, init_from=None),
        # The TPU's own compiler follows; XLA on the host would come between.
        runtime=dataclasses.replace(run_config.runtime, xla="auto"),
    )


def _write_blank_vgg19(path: str) -> None:
    """Writes VGG19 without its training: what a step costs does not depend on the weights."""
    network = keras.applications.VGG19(weights=None, include_top=False)
    arrays: dict[str, Any] = {
        f"{layer.name}/{part}": np.zeros(weight.shape, np.float32)
        for layer in network.layers
        for part, weight in zip(("kernel", "bias"), layer.weights, strict=False)
    }
    np.savez(path, **arrays)


def fingerprint(hlo: bytes) -> str:
    """Returns the SHA-256 of an HLO module without its names, numbers and source lines.

    Tracing the same step twice gives the same operations under other names.
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
