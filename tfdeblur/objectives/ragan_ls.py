"""Relativistic average least-squares GAN: true images shall score higher than restored ones."""

import dataclasses

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import Tensor, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(AdversarialOptions):
    """Options of the relativistic objective."""


class RelativisticObjective(AdversarialObjective):
    """Scores are compared with the mean score of the other kind of images.

    With ``r = real - mean(fake)`` and ``f = fake - mean(real)``, the critic minimizes
    ``(r - 1)^2 + (f + 1)^2`` and the generator ``(f - 1)^2 + (r + 1)^2``. The means are over the
    patches and images of all devices.

    Reference:
        Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard
        GAN", ICLR 2019, appendix (RaLSGAN); Kupyn et al., "DeblurGAN-v2", ICCV 2019, equation 2.
    """

    judges_truth_for_generator = True

    def critic_loss(self, real: Tensor, fake: Tensor, view: View) -> Tensor:
        """Returns how far true images are from being one better, float32 [B]."""
        return _distance(real, fake, view)

    def generator_loss(self, real: Tensor | None, fake: Tensor, view: View) -> Tensor:
        """Returns how far restored images are from being one better, float32 [B]."""
        return _distance(fake, real, view)


def _distance(better: Tensor, worse: Tensor, view: View) -> Tensor:
    above = better - view.batch_mean(worse)
    below = worse - view.batch_mean(better)
    return per_example(ops.square(above - 1.0)) + per_example(ops.square(below + 1.0))


def build(options: Options) -> RelativisticObjective:
    """Builds the objective."""
    return RelativisticObjective(options)
