"""What all objectives with a critic share: two players, and content losses beside the duel."""

import abc
import dataclasses
from typing import Annotated, ClassVar

from keras import ops
from pydantic import Field

from tfdeblur.objectives.content_losses import ContentOptions, ContentSum
from tfdeblur.objectives.objective import CRITIC, GENERATOR, Loss, Objective, Tensor, View

ADVERSARIAL = "adversarial"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialOptions(ContentOptions):
    """Options of every objective with a critic."""

    needs_critic: ClassVar[bool] = True

    adversarial_weight: Annotated[
        float, Field(gt=0, description="weight of the critic's opinion in the generator's loss")
    ] = 1.0
    critic_updates: Annotated[
        int, Field(ge=1, le=20, description="updates of the critic before one of the generator")
    ] = 1


def per_example(values: Tensor) -> Tensor:
    """Means a score map [B, h, w, 1] over everything but the images; float32 [B]."""
    return ops.mean(ops.cast(values, "float32"), axis=(1, 2, 3))


def mean_of_maps(values: list[Tensor]) -> Tensor:
    """Means over a critic's score maps, one value an example each."""
    return sum(values[1:], start=values[0]) / len(values)


class AdversarialObjective(Objective):
    """A generator that wants to please a critic and to stay near the truth.

    The critic minimizes the mean of `critic_loss` over its score maps; the generator minimizes
    ``adversarial_weight * generator_loss + sum_k w_k content_k``. A subclass gives the two losses
    of one score map.

    Args:
        options: Weights and the number of the critic's updates.
    """

    judges_truth_for_generator = False
    """Whether the generator's loss looks at the scores of true images as well."""

    def __init__(self, options: AdversarialOptions) -> None:
        self._content = ContentSum(options)
        self._weight = options.adversarial_weight
        self.moves = (CRITIC,) * options.critic_updates + (GENERATOR,)

    @abc.abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor, view: View) -> Tensor:
        """Returns the critic's loss on one score map, float32 [B].

        Args:
            real: Scores of true images, float32 [B, h, w, 1].
            fake: Scores of restored images, likewise.
            view: The batch.
        """

    @abc.abstractmethod
    def generator_loss(self, real: Tensor | None, fake: Tensor, view: View) -> Tensor:
        """Returns the generator's loss on one score map, float32 [B].

        Args:
            real: Scores of true images where `judges_truth_for_generator`, else None.
            fake: Scores of restored images, float32 [B, h, w, 1].
            view: The batch.
        """

    def prepare(self) -> None:
        """Builds VGG19 where a perceptual loss asks for it."""
        self._content.prepare()

    def term_names(self, player: str) -> tuple[str, ...]:
        """Returns mean scores for the critic; the content losses and its opinion for the other."""
        return ("real", "fake") if player == CRITIC else (*self._content.names, ADVERSARIAL)

    def loss(self, player: str, view: View) -> Loss:
        """Returns one player's loss with its terms."""
        return self._critic(view) if player == CRITIC else self._generator(view)

    def _critic(self, view: View) -> Loss:
        critic = view.networks[CRITIC]
        real, fake = critic.scores_of_both(view.sharp, view.restored, view.blurred)
        losses = [self.critic_loss(r, f, view) for r, f in zip(real, fake, strict=True)]
        terms = {
            "real": mean_of_maps([per_example(scores) for scores in real]),
            "fake": mean_of_maps([per_example(scores) for scores in fake]),
        }
        return Loss(mean_of_maps(losses), terms)

    def _generator(self, view: View) -> Loss:
        critic = view.networks[CRITIC]
        real: tuple[Tensor | None, ...]
        if self.judges_truth_for_generator:
            real, fake = critic.scores_of_both(view.sharp, view.restored, view.blurred)
        else:
            fake = critic.scores(view.restored, view.blurred)
            real = (None,) * len(fake)
        opinion = mean_of_maps(
            [self.generator_loss(r, f, view) for r, f in zip(real, fake, strict=True)]
        )
        terms = self._content.terms(view)
        total = self._weight * opinion + self._content.total(terms)
        return Loss(total, {**terms, ADVERSARIAL: opinion})
