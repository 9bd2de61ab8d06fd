"""The original GAN with the non-saturating loss of the generator."""

import dataclasses

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import Tensor, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(AdversarialOptions):
    """Options of the GAN objective."""


class GanObjective(AdversarialObjective):
    """Scores are logits of "this is a true image", for each patch.

    The critic minimizes ``softplus(-real) + softplus(fake)``, the cross-entropy; the generator
    minimizes ``softplus(-fake)``, whose gradient does not vanish where the critic is sure.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, section 3.
    """

    def critic_loss(self, real: Tensor, fake: Tensor, view: View) -> Tensor:
        """Returns the cross-entropy of both kinds of images, float32 [B]."""
        return per_example(ops.softplus(-real)) + per_example(ops.softplus(fake))

    def generator_loss(self, real: Tensor | None, fake: Tensor, view: View) -> Tensor:
        """Returns the cross-entropy of restored images called true, float32 [B]."""
        return per_example(ops.softplus(-fake))


def build(options: Options) -> GanObjective:
    """Builds the objective."""
    return GanObjective(options)
