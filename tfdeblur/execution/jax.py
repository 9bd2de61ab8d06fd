"""Compiled calls under JAX: `jax.jit` over all devices of the process."""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tfdeblur.execution.executor import Executor
from tfdeblur.execution.stateless import call_with, variables_read_by

BATCH = "batch"
"""The axis of the devices, over which batches are divided."""

FULL_FLOAT32 = "float32"
"""Matrix products of float32 in full precision, which TPUs and recent GPUs round by default."""

PROGRAMS = 64
"""Shapes of arrays for which a function stays compiled: more than tiles of one limit have."""


class JaxExecutor(Executor):
    """Runs functions on a mesh of the process's devices; XLA divides the work.

    Args:
        devices: Devices to use; all local ones if unset.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None) -> None:
        devices = jax.local_devices() if devices is None else devices
        self.devices = len(devices)
        mesh = Mesh(np.array(devices), (BATCH,))
        self._copies = NamedSharding(mesh, PartitionSpec())
        self._parts = NamedSharding(mesh, PartitionSpec(BATCH))

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a program that receives the variables of the function as arguments.

        The programs of the last `PROGRAMS` shapes are kept. Several threads may call it.
        """
        read: list[keras.Variable] | None = None
        reading = threading.Lock()

        # JAX itself never forgets a program. The cache that holds them is that of the function.
        @functools.lru_cache(PROGRAMS)
        def program_for(shapes: tuple[Any, ...]) -> Callable[..., Any]:
            def program(values: Sequence[Any], *args: Any) -> Any:
                names = {str(index): variable for index, variable in enumerate(read or ())}
                with jax.default_matmul_precision(FULL_FLOAT32):
                    _, result = call_with(
                        names, dict(zip(names, values, strict=True)), lambda: function(*args)
                    )
                return result

            return jax.jit(program)

        def compiled(*args: Any) -> Any:
            nonlocal read
            # JAX traces a function once per shape: a second thread would see no variables.
            with reading:
                if read is None:
                    read = variables_read_by(function, *args)
            program = program_for(tuple((x.shape, x.dtype) for x in jax.tree.leaves(args)))
            return program([self._local(variable.value) for variable in read], *args)

        return compiled

    def place(self, images: Any) -> jax.Array:
        """Divides a batch over the devices."""
        return jax.device_put(np.asarray(images), self._parts)

    def fetch(self, value: jax.Array) -> np.ndarray:
        """Copies an array to the host."""
        return np.asarray(value)

    def wait(self, value: jax.Array) -> None:
        """Waits until an array has been computed."""
        value.block_until_ready()

    def _local(self, value: jax.Array) -> jax.Array:
        """Returns a variable on this process's devices; of several processes, each has a copy."""
        if not value.is_fully_addressable:
            value = value.addressable_data(0)
        return jax.device_put(value, self._copies)
