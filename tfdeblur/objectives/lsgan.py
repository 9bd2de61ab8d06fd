"""Least-squares GAN: scores are drawn to 1 for true images and to 0 for restored ones."""

import dataclasses

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import Tensor, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(AdversarialOptions):
    """Options of the least-squares objective."""


class LeastSquaresObjective(AdversarialObjective):
    """The critic minimizes ``((real - 1)^2 + fake^2) / 2``, the generator ``(fake - 1)^2 / 2``.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9.
    """

    def critic_loss(self, real: Tensor, fake: Tensor, view: View) -> Tensor:
        """Returns half the squared distances from 1 and 0, float32 [B]."""
        return 0.5 * (per_example(ops.square(real - 1.0)) + per_example(ops.square(fake)))

    def generator_loss(self, real: Tensor | None, fake: Tensor, view: View) -> Tensor:
        """Returns half the squared distance from 1, float32 [B]."""
        return 0.5 * per_example(ops.square(fake - 1.0))


def build(options: Options) -> LeastSquaresObjective:
    """Builds the objective."""
    return LeastSquaresObjective(options)
