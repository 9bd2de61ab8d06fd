"""Compiled functions that several threads may call at once."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Shape = tuple[int | None, ...]


class CompiledFunctions:
    """One function, compiled per shape, with one copy per concurrent call.

    Each call borrows an idle copy, because no copy may run in two threads: on a CPU, a convolution
    that is fused with an addition keeps its operands in its kernel (TensorFlow 2.21), so
    concurrent calls would overwrite each other's pixels or crash the process. The copies share
    the weights but not the kernels.

    Args:
        function: From float32 [B, H, W, 3] to a tensor of the same shape and dtype.
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
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
        """Calls an idle copy of the function, or a new one if none is idle.

        Args:
            images: float32 [B, H, W, 3].
            shape: Shape that the function is compiled for, with None for sizes that vary.
        """
        self.trace(shape)
        compiled = self._borrow(shape)
        try:
            return np.asarray(compiled(tf.constant(images)))
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

    return tf.function(compiled).get_concrete_function(tf.TensorSpec(shape, tf.float32))
