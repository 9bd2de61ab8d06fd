"""One replica's update: gradients, the order of the players' moves, optimizers.

This is the only module that knows `tf.GradientTape`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.imaging import data_range, to_range, uint8_to_unit
from tfdeblur.models._generator import Generator
from tfdeblur.objectives._objective import GENERATOR, Objective, View
from tfdeblur.training.state import Player, TrainingState


def taped_gradient(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of the sum of ``function(x)`` with respect to `x`; differentiable."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


class ReplicaStep:
    """Updates every player once through the objective's moves, on one replica's images.

    Called inside `strategy.run`. Losses are summed over the replica's images and divided by the
    *global* batch, so that summing gradients over replicas gives the gradient of the global mean;
    Keras's optimizers do that sum.

    Args:
        generator: The network that restores, with its value range.
        objective: Gives the losses and the order of moves.
        state: Players and counters.
        global_batch: Images in one update over all replicas and micro-batches.
        micro_batches: Into how many parts a replica's images are cut; their gradients are added
            up in Python-unrolled code before one update (a conditional around the update fails
            under two replicas).
    """

    def __init__(
        self,
        generator: Generator,
        objective: Objective,
        state: TrainingState,
        *,
        global_batch: int,
        micro_batches: int = 1,
    ) -> None:
        self._generator = generator
        self._objective = objective
        self._state = state
        self._global_batch = global_batch
        self._micro_batches = micro_batches
        self._networks = {name: player.network for name, player in state.players.items()}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the scalars that a call returns, each a mean over the global batch."""
        names = []
        for player in dict.fromkeys(self._objective.moves):
            terms = self._objective.term_names(player)
            names += [f"{player}/{part}" for part in ("loss", *terms, "gradient_norm")]
        return tuple(names)

    def __call__(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes one training step.

        Args:
            batch: ``blurred`` and ``sharp``, uint8 [replica batch, H, W, 3], fully static.

        Returns:
            Scalars by name; their *sum* over replicas is the mean over the global batch.
        """
        metrics = dict.fromkeys(self.metric_names, tf.constant(0.0))
        moves = self._objective.moves
        for name in moves:
            gradients, parts = self._gradients(name, batch)
            parts[f"{name}/gradient_norm"] = self._apply(self._state.players[name], gradients)
            # A player that moves several times a step reports the mean over its moves.
            for key, value in parts.items():
                metrics[key] += value / moves.count(name)
        self._state.update_average()
        return metrics

    def _gradients(
        self, name: str, batch: Mapping[str, tf.Tensor]
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Adds up one player's gradients and scalars over the micro-batches."""
        variables = self._state.players[name].variables
        totals: list[tf.Tensor] | None = None
        parts: dict[str, tf.Tensor] = {}
        for blurred, sharp in self._micro(batch):
            with tf.GradientTape() as tape:
                if name == GENERATOR:
                    outputs = self._outputs(blurred)
                else:
                    # No other player's gradient flows into the generator: nothing to record.
                    with tape.stop_recording():
                        outputs = self._outputs(blurred)
                loss = self._objective.loss(name, self._view(blurred, sharp, outputs))
                scaled = tf.reduce_sum(loss.per_example) / self._global_batch
            gradients = tape.gradient(scaled, variables)
            totals = gradients if totals is None else _add(totals, gradients)
            values = {f"{name}/loss": scaled} | {
                f"{name}/{term}": tf.reduce_sum(value) / self._global_batch
                for term, value in loss.terms.items()
            }
            for key, value in values.items():
                parts[key] = parts[key] + value if key in parts else value
        return totals or [], parts

    def _micro(self, batch: Mapping[str, tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Cuts the batch, and turns uint8 into the generator's range at the last moment."""
        blurred = tf.split(batch["blurred"], self._micro_batches)
        sharp = tf.split(batch["sharp"], self._micro_batches)
        value_range = self._generator.value_range
        return [
            tuple(to_range(uint8_to_unit(images), value_range) for images in pair)
            for pair in zip(blurred, sharp, strict=True)
        ]

    def _outputs(self, blurred: tf.Tensor) -> tuple[tf.Tensor, ...]:
        outputs = self._generator.network(blurred, training=True)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)

    def _view(self, blurred: tf.Tensor, sharp: tf.Tensor, outputs: tuple[tf.Tensor, ...]) -> View:
        return View(
            blurred=blurred,
            sharp=sharp,
            outputs=outputs,
            networks=self._networks,
            data_range=data_range(self._generator.value_range),
            gradient=taped_gradient,
        )

    def _apply(self, player: Player, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Updates one player; returns its share of the reported gradient norm.

        Clipping by the global norm needs the gradient of the whole batch, so it is summed over
        replicas first and divided again, since the optimizer sums as well. Without clipping
        nothing travels twice, and the norm is the mean of the replicas' own.
        """
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if player.clip_norm is None:
            # A replica's gradient is its share of a sum; times the count it is a mean itself.
            norm = tf.linalg.global_norm(gradients) * replicas
        else:
            if replicas > 1:
                gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            gradients, norm = tf.clip_by_global_norm(gradients, player.clip_norm)
            gradients = [gradient / replicas for gradient in gradients]
        player.optimizer.apply(gradients, player.variables)
        return norm / replicas


def _add(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    return [a + b for a, b in zip(left, right, strict=True)]
