"""Wasserstein GAN with weight clipping."""

import dataclasses
from typing import Annotated

from pydantic import Field

from tfdeblur.objectives.objective import CRITIC
from tfdeblur.objectives.wasserstein import WassersteinObjective, WassersteinOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(WassersteinOptions):
    """Options of the Wasserstein objective with clipped weights."""

    weight_clip: Annotated[float, Field(gt=0)] = 0.01
    """maximum magnitude of the critic's weights"""


class ClippedWassersteinObjective(WassersteinObjective):
    """Bounds the critic's slope by clipping its weights after each of its updates.

    Reference:
        Arjovsky et al., "Wasserstein GAN", 2017, algorithm 1.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.weight_clip = {CRITIC: options.weight_clip}


build = ClippedWassersteinObjective
"""Builds the objective."""
