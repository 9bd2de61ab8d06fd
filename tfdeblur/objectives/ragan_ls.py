"""Relativistic average least-squares GAN: sharp images should score above restored ones."""

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import View
from tfdeblur.ops.shapes import PerExample, ScoreMap


class RelativisticObjective(AdversarialObjective):
    """Scores are relative to the mean score of the opposite class.

    With ``r = real - mean(fake)`` and ``f = fake - mean(real)``, the critic minimizes
    ``(r - 1)^2 + (f + 1)^2`` and the generator ``(f - 1)^2 + (r + 1)^2``. The means are over the
    patches and images of all devices.

    Reference:
        Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard
        GAN", ICLR 2019, appendix (RaLSGAN); Kupyn et al., "DeblurGAN-v2", ICCV 2019, equation 2.
    """

    needs_real_scores = True

    def critic_loss(self, real: ScoreMap, fake: ScoreMap, view: View) -> PerExample:
        """Returns the squared distances of sharp images from being one above, float32 [B]."""
        return _distance(real, fake, view)

    def generator_loss(self, real: ScoreMap | None, fake: ScoreMap, view: View) -> PerExample:
        """Returns the squared distances of restored images from being one above, float32 [B]."""
        return _distance(fake, real, view)


def _distance(better: ScoreMap | None, worse: ScoreMap | None, view: View) -> PerExample:
    above = better - view.batch_mean(worse)
    below = worse - view.batch_mean(better)
    return per_example(ops.square(above - 1.0)) + per_example(ops.square(below + 1.0))


Options = AdversarialOptions
build = RelativisticObjective
"""Builds the objective."""
