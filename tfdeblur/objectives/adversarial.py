"""Base of all objectives with a critic: an adversarial loss plus content losses."""

import abc
import dataclasses
from typing import Annotated, ClassVar

from keras import ops
from pydantic import Field

from tfdeblur.objectives.content_losses import ContentObjective, ContentOptions
from tfdeblur.objectives.objective import CRITIC, GENERATOR, Loss, View
from tfdeblur.ops.shapes import PerExample, ScoreMap

ADVERSARIAL = "adversarial"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialOptions(ContentOptions):
    """Options of every objective with a critic."""

    needs_critic: ClassVar[bool] = True

    adversarial_weight: Annotated[float, Field(gt=0)] = 1.0
    """weight of the adversarial term of the generator's loss"""
    critic_updates: Annotated[int, Field(ge=1, le=20)] = 1
    """critic updates per generator update"""


def per_example(scores: ScoreMap) -> PerExample:
    """Returns the mean of each image's score map [B, h, w, 1], float32 [B]."""
    return ops.mean(ops.cast(scores, "float32"), axis=(1, 2, 3))


def mean_of_maps(values: list[PerExample]) -> PerExample:
    """Returns the mean over a critic's score maps of values that are float32 [B] for each map."""
    return sum(values[1:], start=values[0]) / len(values)


class AdversarialObjective(ContentObjective):
    """A generator trained against a critic and towards the sharp images.

    The critic minimizes the mean of `critic_loss` over its score maps; the generator minimizes
    ``adversarial_weight * generator_loss + sum_k w_k content_k``. A subclass defines both losses
    for one score map.

    Args:
        options: Weights and the number of critic updates.
    """

    needs_real_scores = False
    """Whether `generator_loss` also uses the scores of sharp images."""

    def __init__(self, options: AdversarialOptions) -> None:
        super().__init__(options)
        self._adversarial_weight = options.adversarial_weight
        self.updates = (CRITIC,) * options.critic_updates + (GENERATOR,)

    @abc.abstractmethod
    def critic_loss(self, real: ScoreMap, fake: ScoreMap, view: View) -> PerExample:
        """Returns the critic's loss on one score map, float32 [B].

        Args:
            real: Scores of sharp images, float32 [B, h, w, 1].
            fake: Scores of restored images, same shape.
            view: The batch.
        """

    @abc.abstractmethod
    def generator_loss(self, real: ScoreMap | None, fake: ScoreMap, view: View) -> PerExample:
        """Returns the generator's loss on one score map, float32 [B].

        Args:
            real: Scores of sharp images if `needs_real_scores`, else None.
            fake: Scores of restored images, float32 [B, h, w, 1].
            view: The batch.
        """

    def term_names(self, network: str) -> tuple[str, ...]:
        """Returns the critic's mean scores, or the generator's content and adversarial losses."""
        content = super().term_names(network)
        return ("real", "fake") if network == CRITIC else (*content, ADVERSARIAL)

    def loss(self, network: str, view: View) -> Loss:
        """Returns the loss of one network with its terms."""
        return self._critic(view) if network == CRITIC else self._generator(view)

    def _critic(self, view: View) -> Loss:
        critic = view.critics[CRITIC]
        real, fake = critic.scores_of_both(view.sharp, view.restored, view.blurred)
        losses = [self.critic_loss(r, f, view) for r, f in zip(real, fake, strict=True)]
        terms = {
            "real": mean_of_maps([per_example(scores) for scores in real]),
            "fake": mean_of_maps([per_example(scores) for scores in fake]),
        }
        return Loss(mean_of_maps(losses), terms)

    def _generator(self, view: View) -> Loss:
        critic = view.critics[CRITIC]
        real: tuple[ScoreMap | None, ...]
        if self.needs_real_scores:
            real, fake = critic.scores_of_both(view.sharp, view.restored, view.blurred)
        else:
            fake = critic.scores(view.restored, view.blurred)
            real = (None,) * len(fake)
        adversarial = mean_of_maps(
            [self.generator_loss(r, f, view) for r, f in zip(real, fake, strict=True)]
        )
        content = super().loss(GENERATOR, view)
        total = self._adversarial_weight * adversarial + content.per_example
        return Loss(total, {**content.terms, ADVERSARIAL: adversarial})
