"""Least-squares GAN: the targets are 1 for sharp and 0 for restored images."""

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import View
from tfdeblur.ops.shapes import PerExample, ScoreMap


class LeastSquaresObjective(AdversarialObjective):
    """The critic minimizes ``((real - 1)^2 + fake^2) / 2``, the generator ``(fake - 1)^2 / 2``.

    Reference:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9.
    """

    def critic_loss(self, real: ScoreMap, fake: ScoreMap, view: View) -> PerExample:
        """Returns half the squared distances from 1 and 0, float32 [B]."""
        return 0.5 * (per_example(ops.square(real - 1.0)) + per_example(ops.square(fake)))

    def generator_loss(self, real: ScoreMap | None, fake: ScoreMap, view: View) -> PerExample:
        """Returns half the squared distance from 1, float32 [B]."""
        return 0.5 * per_example(ops.square(fake - 1.0))


Options = AdversarialOptions
build = LeastSquaresObjective
"""Builds the objective."""
