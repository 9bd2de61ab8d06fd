"""Wasserstein GAN with gradient penalty."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

from keras import ops
from pydantic import Field

from tfdeblur.objectives.adversarial import mean_of_maps, per_example
from tfdeblur.objectives.objective import CRITIC, Loss, View
from tfdeblur.objectives.wasserstein import WassersteinObjective, WassersteinOptions
from tfdeblur.ops.shapes import ImageBatch, PerExample

# Added under the square root of the penalty, whose gradient at 0 would be NaN.
SLOPE_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(WassersteinOptions):
    """Options of the Wasserstein objective with gradient penalty."""

    penalty_weight: Annotated[float, Field(ge=0)] = 10.0
    """weight of the penalty"""
    penalty_score: Literal["mean", "sum"] = "mean"
    """whose slope is penalized: the mean of the score map, as in the losses, or its sum, as in
    published code that differentiates the map"""


class PenaltyObjective(WassersteinObjective):
    """Penalizes slopes of the critic other than 1 between sharp and restored images.

    The critic minimizes ``fake - real + weight * (|d critic(x) / dx| - 1)^2`` at one point
    ``x = sharp + u (restored - sharp)`` per image, u uniform in [0, 1). The slope is the Euclidean
    norm over height, width and channels, with images in the generator's range; it is computed in
    float32 for every precision of the critic. With several score maps the penalty is the mean of
    their penalties.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NIPS 2017, algorithm 1.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._penalty_weight = options.penalty_weight
        self._sums_map = options.penalty_score == "sum"

    def term_names(self, network: str) -> tuple[str, ...]:
        """Adds the penalty and the slope to the critic's terms."""
        names = super().term_names(network)
        return (*names, "penalty", "slope") if network == CRITIC else names

    def loss(self, network: str, view: View) -> Loss:
        """Returns the loss of one network with its terms."""
        loss = super().loss(network, view)
        if network != CRITIC:
            return loss
        slopes = self._slopes(view)
        penalty = mean_of_maps([ops.square(slope - 1.0) for slope in slopes])
        terms = {**loss.terms, "penalty": penalty, "slope": mean_of_maps(slopes)}
        return Loss(loss.per_example + self._penalty_weight * penalty, terms)

    def _slopes(self, view: View) -> list[PerExample]:
        """Returns the norm of the gradient of each score map, float32 [B]."""
        critic = view.critics[CRITIC]
        share = ops.reshape(ops.cast(view.uniform, "float32"), (-1, 1, 1, 1))
        sharp = ops.cast(view.sharp, "float32")
        between = sharp + share * (ops.cast(view.restored, "float32") - sharp)

        def value_of(index: int) -> Callable[[ImageBatch], PerExample]:
            def value(images: ImageBatch) -> PerExample:
                scores = critic.scores(images, view.blurred)[index]
                patches = scores.shape[1] * scores.shape[2] if self._sums_map else 1
                return per_example(scores) * patches

            return value

        slopes = []
        for index in range(len(critic.network.outputs)):
            gradient = view.gradient(value_of(index), between)
            squares = ops.square(ops.cast(gradient, "float32"))
            slopes.append(ops.sqrt(ops.sum(squares, axis=(1, 2, 3)) + SLOPE_EPSILON))
        return slopes


build = PenaltyObjective
"""Builds the objective."""
