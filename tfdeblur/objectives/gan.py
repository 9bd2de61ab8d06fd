"""The original GAN with the non-saturating generator loss."""

from keras import ops

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import View
from tfdeblur.ops.shapes import PerExample, ScoreMap


class GanObjective(AdversarialObjective):
    """Scores are logits of "this patch is from a sharp image".

    The critic minimizes ``softplus(-real) + softplus(fake)``, the cross-entropy; the generator
    minimizes ``softplus(-fake)``, whose gradient does not vanish for a confident critic.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, section 3.
    """

    def critic_loss(self, real: ScoreMap, fake: ScoreMap, view: View) -> PerExample:
        """Returns the cross-entropy of sharp and restored images, float32 [B]."""
        return per_example(ops.softplus(-real)) + per_example(ops.softplus(fake))

    def generator_loss(self, real: ScoreMap | None, fake: ScoreMap, view: View) -> PerExample:
        """Returns the cross-entropy of restored images labeled sharp, float32 [B]."""
        return per_example(ops.softplus(-fake))


Options = AdversarialOptions
build = GanObjective
"""Builds the objective."""
