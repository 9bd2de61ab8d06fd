"""What an objective is: losses for each player, and the order in which the players move."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

GENERATOR = "generator"

Tensor = Any  # a tensor of whichever backend Keras runs on

GradientOperator = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""``gradient(f, x)``: the gradient of the sum of ``f(x)`` with respect to `x`, itself
differentiable. The training step hands it to the objective, so that an objective never needs to
know which engine differentiates."""


@dataclasses.dataclass(frozen=True)
class View:
    """What a loss may look at: one batch and the networks.

    Attributes:
        blurred: float32 [B, H, W, 3] in the generator's value range.
        sharp: float32 [B, H, W, 3] in the generator's value range.
        outputs: The generator's outputs, finest first, each float32 [B, h, w, 3]. For every player
            but the generator no gradient flows through them.
        networks: All networks by the name of their player.
        data_range: Width of the value range: 1 for ``unit``, 2 for ``signed``.
        gradient: Takes gradients inside a loss (the gradient penalty needs one).
    """

    blurred: Tensor
    sharp: Tensor
    outputs: tuple[Tensor, ...]
    networks: Mapping[str, keras.Model]
    data_range: float
    gradient: GradientOperator

    @property
    def restored(self) -> Tensor:
        """The finest output, float32 [B, H, W, 3]."""
        return self.outputs[0]


@dataclasses.dataclass(frozen=True)
class Loss:
    """One player's loss.

    Attributes:
        per_example: float32 [B], what the player minimizes.
        terms: Parts of it worth a curve of their own, each float32 [B], unweighted.
    """

    per_example: Tensor
    terms: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


class Objective(abc.ABC):
    """The mathematics of a training run: pure functions from networks and a batch to losses.

    Attributes:
        moves: Which player is updated when, within one training step. The generator moves once,
            as the last; a critic that moves five times stands here five times.
    """

    moves: tuple[str, ...] = (GENERATOR,)

    def players(self) -> Mapping[str, Callable[[], keras.Model]]:
        """Returns what builds the network of each player beside the generator."""
        return {}

    @abc.abstractmethod
    def term_names(self, player: str) -> tuple[str, ...]:
        """Returns the names of the terms that `loss` gives for a player."""

    @abc.abstractmethod
    def loss(self, player: str, view: View) -> Loss:
        """Returns the loss of one player on one batch."""
