"""Engines: the frameworks that run training steps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfdeblur.training.engines.engine import Engine


def create() -> "Engine":
    """Returns a new engine; `Engine.start` connects its devices."""
    from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

    return TensorFlowEngine()
