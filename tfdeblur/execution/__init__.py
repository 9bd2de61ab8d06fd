"""Compiled calls of Keras code on the devices of this process."""

from tfdeblur.execution.executor import Executor

__all__ = ["Executor", "default_executor"]


def default_executor() -> Executor:
    """Returns an executor on the devices of TensorFlow's current strategy."""
    from tfdeblur.execution.tensorflow import TensorFlowExecutor

    return TensorFlowExecutor()
