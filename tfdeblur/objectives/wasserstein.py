"""What the two Wasserstein objectives share: scores are compared, not classified."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.objectives.adversarial import AdversarialObjective, AdversarialOptions, per_example
from tfdeblur.objectives.objective import CRITIC, Loss, Tensor, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class WassersteinOptions(AdversarialOptions):
    """Options of the Wasserstein objectives."""

    critic_updates: Annotated[
        int, Field(ge=1, le=20, description="updates of the critic before one of the generator")
    ] = 5


class WassersteinObjective(AdversarialObjective):
    """The critic maximizes ``real - fake``, its estimate of the Wasserstein distance."""

    def critic_loss(self, real: Tensor, fake: Tensor, view: View) -> Tensor:
        """Returns ``fake - real``, float32 [B]."""
        return per_example(fake) - per_example(real)

    def generator_loss(self, real: Tensor | None, fake: Tensor, view: View) -> Tensor:
        """Returns ``-fake``, float32 [B]."""
        return -per_example(fake)

    def term_names(self, player: str) -> tuple[str, ...]:
        """Adds the estimate of the distance to the critic's curves."""
        names = super().term_names(player)
        return (*names, "wasserstein") if player == CRITIC else names

    def loss(self, player: str, view: View) -> Loss:
        """Returns one player's loss with its terms."""
        loss = super().loss(player, view)
        if player != CRITIC:
            return loss
        distance = loss.terms["real"] - loss.terms["fake"]
        return dataclasses.replace(loss, terms={**loss.terms, "wasserstein": distance})
