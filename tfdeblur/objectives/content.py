"""A weighted sum of content losses: how far the restored image is from the truth."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from tfdeblur.losses import CONTENT_LOSSES
from tfdeblur.objectives._objective import Loss, Objective, View
from tfdeblur.registry import did_you_mean


def check_loss_names(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Refuses names that are no content loss, and an empty sum."""
    unknown = [name for name in weights if name not in CONTENT_LOSSES]
    if unknown:
        hints = "; ".join(f"{name!r}.{did_you_mean(name, CONTENT_LOSSES)}" for name in unknown)
        raise ValueError(f"unknown content loss {hints}")
    if not any(weights.values()):
        raise ValueError("needs at least one loss with a weight other than 0")
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the content objective."""

    losses: Annotated[
        Mapping[str, float],
        AfterValidator(check_loss_names),
        Field(description="weight of each content loss by name, such as {log_cosh: 1.0}"),
    ] = dataclasses.field(default_factory=lambda: {"mse": 1.0})


class ContentObjective(Objective):
    """Minimises ``sum_k w_k loss_k(sharp, restored)`` on the finest output.

    Each term is the mean over an image's height, width and channels, in float32 and in the
    generator's value range.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)

    def term_names(self, player: str) -> tuple[str, ...]:
        """Returns the names of the content losses; the generator is the only player."""
        return tuple(self.weights)

    def loss(self, player: str, view: View) -> Loss:
        """Returns the weighted sum and its unweighted terms."""
        terms = {
            name: CONTENT_LOSSES[name](view.sharp, view.restored, data_range=view.data_range)
            for name in self.weights
        }
        total = sum(weight * terms[name] for name, weight in self.weights.items())
        return Loss(per_example=total, terms=terms)


def build(options: Options) -> ContentObjective:
    """Builds the objective."""
    return ContentObjective(options.losses)
