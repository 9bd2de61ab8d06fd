"""Compiles runs for slices in subprocesses, and finds the largest batch that fits."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply
from tfdeblur.tpu import compiling
from tfdeblur.tpu.chips import Slice
from tfdeblur.tpu.table import Row
from tfdeblur.tpu.targets import Target
from tfdeblur.training.engines import cluster

EngineName = Literal["jax", "tensorflow"]

# How often the interval between a batch that fits and one that does not is halved.
_BISECTIONS = 3

# Larger batches than this many times the one of the run are not tried.
_MAX_FACTOR = 2**20

_BACKENDS: Mapping[str, Mapping[str, str]] = {
    "jax": {**compiling.NO_TPU, "KERAS_BACKEND": "jax"},
    # Hides GPUs from TensorFlow.
    "tensorflow": {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
}


class Failed(Exception):
    """A subprocess failed; the message says why."""


class Surveyor:
    """Compiles runs.

    Args:
        cache: Folder of the compiler's replies.
        engine: The engine whose step is compiled.
        seconds: Timeout of each subprocess.
        progress: Called with a description of each compilation before it starts.
        call: Runs a subprocess; replaced by tests.
    """

    def __init__(
        self,
        cache: str,
        *,
        engine: EngineName = "jax",
        seconds: float,
        progress: Callable[[str], None] = lambda text: None,
        call: Callable[..., Reply] = subprocesses.call,
    ) -> None:
        self._cache = cache
        self._engine = engine
        self._seconds = seconds
        self._progress = progress
        self._call = call

    def row(self, target: Target, tpu: Slice, *, largest: bool = False) -> Row:
        """Compiles a run for a slice.

        Args:
            target: The run.
            tpu: The slice.
            largest: Whether to search the largest batch, too.

        Returns:
            The row of the table. If the step cannot be compiled, it contains the error.
        """
        row = Row.of(target, tpu, self._engine)
        try:
            devices = len(cluster.sharing(range(tpu.devices), target.shared))
            limit = target.run_config.training.replica_batch
            reply = self._compile(target, tpu, target.batch, limit, devices)
            row = row.filled(reply, target, tpu)
            if largest and not row.error:
                found = self._largest(target, tpu, row, target.micro_batches(devices))
                row = dataclasses.replace(row, largest=found)
        except Failed as failure:
            return dataclasses.replace(row, error=str(failure))
        return row

    def _largest(self, target: Target, tpu: Slice, row: Row, micro_batches: int) -> int:
        """Returns the largest batch found that all devices share, with the same micro-batches."""
        unit = tpu.devices * micro_batches

        def needed(units: int) -> float:
            """Returns the share of the memory that a batch needs; more than 1 if it is unknown."""
            limit = units if target.run_config.training.replica_batch else None
            reply = self._compile(target, tpu, units * unit, limit, tpu.devices)
            if "refused" in reply and not reply.get("no_room"):
                raise Failed(f"the compiler failed, batch {units * unit}: {reply['refused']}")
            other = row.filled(reply, target, tpu)
            return (other.needed or 1) / other.usable if other.fits else math.inf

        fitting, too_large = 0, math.ceil(_MAX_FACTOR * target.batch / unit)
        units = max(1, target.batch // unit)
        while fitting < units < too_large:
            share = needed(units)
            if share <= 1:
                # Memory grows at most in proportion to the batch.
                fitting, units = units, units * 2 ** max(1, math.floor(-math.log2(share)))
            else:
                too_large = units
                units //= 1 if fitting else 2
        for _ in range(_BISECTIONS):
            middle = (fitting + too_large) // 2
            if not fitting < middle < too_large:
                break
            if needed(middle) <= 1:
                fitting = middle
            else:
                too_large = middle
        return fitting * unit

    def _compile(
        self, target: Target, tpu: Slice, batch: int, replica_batch: int | None, devices: int
    ) -> Mapping[str, Any]:
        """Returns the compiler's reply for a batch on all devices."""
        self._progress(f"{target.name}, {batch} images on {tpu.name}")
        place = {
            "topology": tpu.topology,
            "config_name": tpu.chip.config,
            "cache": self._cache,
        }
        if self._engine == "jax":
            request = {**target.request(batch, replica_batch), **place, "devices": devices}
            return self._ask("program", request, _BACKENDS["jax"])
        with tempfile.TemporaryDirectory(prefix="tfdeblur-") as folder:
            place["hlo"] = os.path.join(folder, "step.hlo")
            request = {**target.request(batch // devices, replica_batch), **place}
            about = self._ask("lowering", request, _BACKENDS["tensorflow"])
            reply = self._ask("compiling", place, compiling.NO_TPU)
        images = about["images"] * devices
        return {**about, **reply, "devices": devices, "images": images}

    def _ask(
        self, module: str, request: Mapping[str, Any], environment: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Returns the reply of a subprocess."""
        reply = self._call(
            f"{__package__}.{module}",
            request,
            seconds=self._seconds,
            environment={"TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        )
        if reply.error:
            raise Failed(reply.error)
        return reply.values
