"""Compiled functions that several threads may call at once, under either backend of Keras."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from tfdeblur.execution import default_executor
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.ops.precision import require_full_float32

Shape = tuple[int | None, ...]


class CompiledFunction(Protocol):
    """A compiled function from float32 [B, H, W, 3] to an array of the same shape and dtype."""

    def trace(self, shape: Shape) -> None:
        """Traces the function for a shape, with the settings of this thread."""

    def __call__(self, images: np.ndarray, shape: Shape) -> np.ndarray:
        """Calls the function.

        Args:
            images: float32 [B, H, W, 3].
            shape: Shape that the function is compiled for, with None for sizes that vary.

        Raises:
            MemoryError: The device's memory does not suffice.
        """


def compile_function(function: Callable[[Any], Any]) -> CompiledFunction:
    """Compiles a function from float32 [B, H, W, 3] to a tensor of the same shape and dtype."""
    is_jax = keras.backend.backend() == "jax"
    return _JaxFunction(function) if is_jax else CompiledFunctions(function)


class _JaxFunction:
    """One function, compiled for each size of its images."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._executor = default_executor()
        self._compiled = self._executor.compile(function)

    def trace(self, shape: Shape) -> None:
        """Does nothing: the first call traces."""

    def __call__(self, images: np.ndarray, shape: Shape) -> np.ndarray:
        devices = self._executor.devices
        # A batch is divided equally over the devices.
        padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % devices, axis=0)])
        try:
            return self._executor.fetch(self._compiled(self._executor.place(padded)))[: len(images)]
        except RuntimeError as error:  # the base of JAX's own errors
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise MemoryError(str(error)) from error


class CompiledFunctions:
    """One TensorFlow function, compiled per shape, with one copy per concurrent call.

    Each call borrows an idle copy, because no copy may run in two threads: on a CPU, a convolution
    that is fused with an addition keeps its operands in its kernel (TensorFlow 2.21), so
    concurrent calls would overwrite each other's pixels or crash the process. The copies share
    the weights but not the kernels.

    Args:
        function: From float32 [B, H, W, 3] to a tensor of the same shape and dtype.
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        require_full_float32()
        self._function = function
        self._lock = threading.Lock()
        self._traced: dict[Shape, Any] = {}
        self._idle: defaultdict[Shape, list[Any]] = defaultdict(list)

    def trace(self, shape: Shape) -> None:
        """Traces the function for a shape, unless this has been done.

        Keras keeps its settings (precision, devices) per thread: call this in the thread whose
        settings apply before others call the function.
        """
        with self._lock:
            if shape not in self._traced:
                traced = _compile(self._function, shape)
                self._traced[shape] = traced
                self._idle[shape].append(traced)

    def __call__(self, images: np.ndarray, shape: Shape) -> np.ndarray:
        """Calls an idle copy of the function, or a new one if none is idle."""
        self.trace(shape)
        compiled = self._borrow(shape)
        try:
            return np.asarray(compiled(tf.constant(images)))
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(error.message) from error
        finally:
            self._idle[shape].append(compiled)

    def _borrow(self, shape: Shape) -> Any:
        with self._lock:
            if self._idle[shape]:
                return self._idle[shape].pop()
            # Not traced again: the traced function is inlined into the copy.
            return _compile(self._traced[shape], shape)


def _compile(function: Any, shape: Shape) -> Any:
    def compiled(images: tf.Tensor) -> tf.Tensor:
        return function(images)

    return tf.function(compiled, autograph=False).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
