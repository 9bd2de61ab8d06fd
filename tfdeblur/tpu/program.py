"""Program: compiles the training step of all devices of a slice, with JAX and without a TPU.

The JAX engine traces the step on a mesh of the devices of a topology, which libtpu describes even
if none is attached, so that the program contains the exchange between devices. Replies are cached
by program, topology and versions.

Reference:
    JAX, "Ahead-of-time lowering and compilation", and `jax.experimental.topologies`.
"""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras

from tfdeblur import config
from tfdeblur.config import TrainConfig
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.io import subprocesses
from tfdeblur.ops.precision import POLICIES, Precision, precision_scope
from tfdeblur.tpu import counting, links, runs
from tfdeblur.tpu.cache import cached_reply
from tfdeblur.tpu.compiling import devices_of, memory_of, refusal, versions
from tfdeblur.training.engines.jax.engine import JaxEngine


class DetachedEngine(JaxEngine):
    """Builds runs for devices that are not attached.

    Args:
        devices: The devices that share each batch.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self._shared = devices

    def start(self, seed: int, config: RuntimeConfig, global_batch: int | None = None) -> None:
        """Seeds Keras, and selects the devices."""
        keras.utils.set_random_seed(seed)
        self.use(self._shared)

    def resolve_precision(self, requested: Precision) -> str:
        """Returns the precision of a TPU."""
        return POLICIES["bfloat16" if requested == "auto" else requested]


def lower(
    run_config: TrainConfig, height: int, width: int, devices: Sequence[Any]
) -> tuple[Any, dict[str, Any]]:
    """Returns the step of a run on the devices that share each batch.

    Args:
        run_config: The run.
        height: Height of a sample in pixels.
        width: Width of a sample in pixels.
        devices: The devices, attached or not; their number divides the batch.

    Returns:
        The `jax.stages.Lowered`; and ``images`` per step, the number of ``devices``,
        ``parameters`` that are trained, and ``counted``, the fields of `counting.Counted`.

    Raises:
        ConfigError: The run's settings are inconsistent.
    """
    engine = DetachedEngine(devices)
    with tempfile.TemporaryDirectory() as folder:
        run = runs.build(run_config, height, width, engine, folder)
        with precision_scope(run.policy):
            traced = engine.trace(height, width)
            program = traced.lower()
    return program, {
        "images": run.step_images,
        "devices": engine.devices,
        "parameters": runs.count_parameters(run),
        "counted": dataclasses.asdict(counting.count(traced.jaxpr)),
    }


def compile_lowered(program: Any, devices: int) -> dict[str, Any]:
    """Compiles a step.

    Args:
        program: A `jax.stages.Lowered`.
        devices: Number of devices that share it.

    Returns:
        For one device: ``memory`` (bytes by kind), ``flops`` and ``bytes_accessed`` with each loop
        run once, ``sent`` (see `links.exchanged`); and ``seconds``. If the compiler fails, the keys
        of `refusal` and ``seconds``.
    """
    begin = time.monotonic()
    try:
        compiled = program.compile()
    except Exception as error:  # the class of JAX's error depends on the release
        return {**refusal(str(error)), "seconds": time.monotonic() - begin}
    seconds = time.monotonic() - begin
    costs = compiled.cost_analysis()
    return {
        "memory": memory_of(compiled.memory_analysis()),
        "flops": float(costs["flops"]),
        "bytes_accessed": float(costs.get("bytes accessed", 0.0)),
        "sent": links.exchanged(compiled.as_text(), devices),
        "seconds": seconds,
    }


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    topology, used = request["topology"], versions()
    # Fewer than all if all cannot share the batch of each stage.
    devices = devices_of(topology, request["config_name"])[: request["devices"]]
    run_config = config.resolve(request["config"], plugins=request["config"].get("plugins", ()))
    program, about = lower(run_config, request["height"], request["width"], devices)
    reply = cached_reply(
        request["cache"],
        program.as_text(),
        topology,
        used,
        lambda: compile_lowered(program, about["devices"]),
    )
    return {"keras": keras.__version__, **used, **about, **reply}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
