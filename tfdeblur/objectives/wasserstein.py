"""Base of the Wasserstein objectives, which compare scores instead of classifying images."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import CRITIC, Loss, View
from tfdeblur.ops.shapes import PerExample, ScoreMap


@dataclasses.dataclass(frozen=True, kw_only=True)
class WassersteinOptions(AdversarialOptions):
    """Options of the Wasserstein objectives."""

    critic_updates: Annotated[int, Field(ge=1, le=20)] = 5
    """critic updates per generator update"""


class WassersteinObjective(AdversarialObjective):
    """The critic maximizes ``real - fake``, its estimate of the Wasserstein distance."""

    def critic_loss(self, real: ScoreMap, fake: ScoreMap, view: View) -> PerExample:
        """Returns ``fake - real``, float32 [B]."""
        return per_example(fake) - per_example(real)

    def generator_loss(self, real: ScoreMap | None, fake: ScoreMap, view: View) -> PerExample:
        """Returns ``-fake``, float32 [B]."""
        return -per_example(fake)

    def term_names(self, network: str) -> tuple[str, ...]:
        """Adds the estimated distance to the critic's terms."""
        names = super().term_names(network)
        return (*names, "wasserstein") if network == CRITIC else names

    def loss(self, network: str, view: View) -> Loss:
        """Returns the loss of one network with its terms."""
        loss = super().loss(network, view)
        if network != CRITIC:
            return loss
        distance = loss.terms["real"] - loss.terms["fake"]
        return dataclasses.replace(loss, terms={**loss.terms, "wasserstein": distance})
