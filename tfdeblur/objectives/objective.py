"""What an objective is: losses for each player, and the order in which the players move."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

GENERATOR = "generator"
CRITIC = "critic"

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
        networks: The other players' networks by name. ``critic`` is a `models.critics` critic:
            its ``scores`` judges images, its ``scores_of_both`` two sets of them at once.
        data_range: Width of the value range: 1 for ``unit``, 2 for ``signed``.
        gradient: Takes gradients inside a loss (the gradient penalty needs one).
        uniform: float32 [B], one draw from [0, 1) for each image, another for every move. It
            depends on the run's seed and the image's place alone, not on the number of devices.
        batch_mean: Differentiable mean of a tensor over all its elements and over the images of
            all devices, a float32 scalar. (Within a micro-batch, where gradients are accumulated.)
    """

    blurred: Tensor
    sharp: Tensor
    outputs: tuple[Tensor, ...]
    networks: Mapping[str, Any]
    data_range: float
    gradient: GradientOperator
    uniform: Tensor
    batch_mean: Callable[[Tensor], Tensor]

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
        weight_clip: By player, the largest magnitude that a weight may have after an update.
    """

    moves: tuple[str, ...] = (GENERATOR,)
    weight_clip: Mapping[str, float] = {}

    def prepare(self) -> None:  # noqa: B027  # most objectives have nothing to prepare
        """Builds networks that only measure and never learn, such as VGG19.

        Called once, where variables may be made, before the first loss.
        """

    @abc.abstractmethod
    def term_names(self, player: str) -> tuple[str, ...]:
        """Returns the names of the terms that `loss` gives for a player."""

    @abc.abstractmethod
    def loss(self, player: str, view: View) -> Loss:
        """Returns the loss of one player on one batch."""
