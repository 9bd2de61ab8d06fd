"""Compiled calls of Keras code on the devices of this process, under either backend of Keras."""

import keras

from tfdeblur.execution.executor import Executor

__all__ = ["Executor", "default_executor"]


def default_executor() -> Executor:
    """Returns an executor for Keras's backend, on its default devices.

    TensorFlow uses the current strategy; JAX uses all devices of the process.
    """
    if keras.backend.backend() == "jax":
        from tfdeblur.execution.jax import JaxExecutor

        return JaxExecutor()
    from tfdeblur.execution.tensorflow import TensorFlowExecutor

    return TensorFlowExecutor()
