"""Reverts a step on the device if it produced non-finite values.

A conditional around an optimizer's update fails under two replicas. So the update always runs, and
every variable is then assigned either its new value or the one before.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.training.engines.tensorflow import private
from tfdeblur.training.state import TrainingState


class StepReverter:
    """Reverts weights, moving statistics, optimizers and averages.

    Args:
        state: Holds the variables that a step changes.
    """

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def snapshot(self) -> list[tf.Tensor]:
        """Returns the present values on one replica; called before the step changes any."""
        return [tf.identity(tf.convert_to_tensor(value)) for value in self._variables()]

    def revert_unless_finite(
        self, snapshot: Sequence[tf.Tensor], scalars: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Restores the old values unless scalars and weights are finite on every replica.

        Args:
            snapshot: What `snapshot` returned.
            scalars: Everything that the step reports, on this replica.

        Returns:
            float32 []: this replica's share of 1 if the step was reverted, else 0.
        """
        weights = [
            tf.convert_to_tensor(variable.value)
            for trained in self._state.networks.values()
            for variable in trained.variables
        ]
        finite = tf.math.is_finite(tf.stack([*scalars, tf.linalg.global_norm(weights)]))
        broken = tf.cast(tf.logical_not(tf.reduce_all(finite)), tf.float32)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            broken = context.all_reduce(tf.distribute.ReduceOp.SUM, broken)
        sound = broken < 0.5
        variables = self._variables()
        values = [
            tf.where(sound, tf.convert_to_tensor(variable), old)
            for variable, old in zip(variables, snapshot, strict=True)
        ]

        def assign_all(strategy: tf.distribute.Strategy, *chosen: Any) -> None:
            for variable, value in zip(variables, chosen, strict=True):
                strategy.extended.update(variable, _assign, args=(value,), group=False)

        private.merge_call(assign_all, *values)
        return tf.cast(tf.logical_not(sound), tf.float32) / context.num_replicas_in_sync

    def _variables(self) -> list[tf.Variable]:
        return [variable.value for variable in self._state.revertible]


def _assign(variable: tf.Variable, value: tf.Tensor) -> tf.Tensor:
    return variable.assign(value)
