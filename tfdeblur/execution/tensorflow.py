"""Compiled calls under TensorFlow: `tf.function` on the replicas of a strategy."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.execution.executor import Executor
from tfdeblur.ops.precision import require_full_float32


class TensorFlowExecutor(Executor):
    """Runs functions on every replica of a distribution strategy.

    Args:
        strategy: The current one if unset.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        require_full_float32()
        self._strategy = strategy or tf.distribute.get_strategy()
        self.devices = self._strategy.num_replicas_in_sync

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a graph that calls the function on every replica."""
        # A partial object: TensorFlow counts traces per code object, and would warn about the
        # evaluators of several networks as about one function that is retraced.
        compiled: Callable[..., Any] = tf.function(
            functools.partial(_on_replicas, self._strategy, function), autograph=False
        )
        return compiled

    def place(self, images: Any) -> Any:
        """Divides a batch over the replicas."""
        if self.devices == 1:
            return tf.convert_to_tensor(images)
        share = images.shape[0] // self.devices
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: images[context.replica_id_in_sync_group * share :][:share]
        )

    def fetch(self, value: Any) -> np.ndarray:
        """Joins the replicas' parts."""
        parts = self._strategy.experimental_local_results(value)
        if len(parts) < self.devices:  # the others are in other processes
            parts = (self._strategy.gather(value, axis=0),)
        return np.concatenate([part.numpy() for part in parts])

    def wait(self, value: Any) -> None:
        """Reads one number: a device is still busy when a call returns."""
        part = self._strategy.experimental_local_results(value)[0]
        tf.reshape(part, [-1])[0].numpy()


def _on_replicas(strategy: tf.distribute.Strategy, function: Callable[..., Any], *args: Any) -> Any:
    return strategy.run(function, args)
