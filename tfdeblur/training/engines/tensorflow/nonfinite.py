"""Takes back, on the device, what a step did when its numbers are not finite.

A conditional around an optimizer's update fails under two replicas, so the update is made in any
case, and every variable is then given its new value or the one it had before.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.training.state import TrainingState, seed_variables


class Undo:
    """What a step changes: all weights, moving statistics, optimizers and averages.

    Counters of random generators are left alone: draws that went into a lost step are not made
    again. So is the count of images, the clock of the run.

    Args:
        state: Its variables are those that a step changes.
    """

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def before(self) -> list[tf.Tensor]:
        """Returns the values of now, on one replica; called before the step changes any."""
        return [tf.identity(tf.convert_to_tensor(value)) for value in self._variables()]

    def unless_sound(self, before: Sequence[tf.Tensor], scalars: Sequence[tf.Tensor]) -> tf.Tensor:
        """Puts the old values back unless the step was sound on every replica.

        A step is sound when its scalars and the weights that it leaves are finite.

        Args:
            before: What `before` returned.
            scalars: Everything that the step reports, on this replica.

        Returns:
            float32 []: this replica's share of 1 where the step was taken back, else 0.
        """
        weights = [
            tf.convert_to_tensor(variable.value)
            for player in self._state.players.values()
            for variable in player.variables
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
            for variable, old in zip(variables, before, strict=True)
        ]

        def put(strategy: tf.distribute.Strategy, *chosen: Any) -> None:
            for variable, value in zip(variables, chosen, strict=True):
                strategy.extended.update(variable, _assign, args=(value,), group=False)

        # Keras's optimizers write their variables in the same way, under every strategy.
        tf.__internal__.distribute.interim.maybe_merge_call(
            put, tf.distribute.get_strategy(), *values
        )
        return tf.cast(tf.logical_not(sound), tf.float32) / context.num_replicas_in_sync

    def _variables(self) -> list[tf.Variable]:
        found: list[Any] = []
        for player in self._state.players.values():
            seeds = {id(seed) for seed in seed_variables(player.network)}
            found += [v.value for v in player.network.weights if id(v) not in seeds]
            found += [v.value for v in player.optimizer.variables]
        return [*found, *self._state.average]


def _assign(variable: tf.Variable, value: tf.Tensor) -> tf.Tensor:
    return variable.assign(value)
