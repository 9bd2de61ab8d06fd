"""Engines: the frameworks that run training steps. Keras's backend determines the engine."""

from typing import TYPE_CHECKING

from tfdeblur.config.backend import choose_backend

if TYPE_CHECKING:
    from tfdeblur.training.engines.engine import Engine


def create(requested: str = "auto") -> "Engine":
    """Returns the engine of Keras's backend; `Engine.start` connects its devices.

    Args:
        requested: `runtime.engine`.

    Raises:
        ConfigError: Keras runs on another backend.
        UserError: No engine supports Keras's backend.
    """
    choose_backend({"engine": requested})
    import keras

    if keras.backend.backend() == "jax":
        from tfdeblur.training.engines.jax.engine import JaxEngine

        return JaxEngine()
    from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

    return TensorFlowEngine()
