"""A weighted sum of content losses: the difference between restored and sharp images."""

import dataclasses

from tfdeblur.objectives.content_losses import ContentOptions, ContentSum
from tfdeblur.objectives.objective import Loss, Objective, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ContentOptions):
    """Options of the content objective."""

    def __post_init__(self) -> None:
        if not any(self.losses.values()):
            raise ValueError("losses: at least one loss needs a weight other than 0")


class ContentObjective(Objective):
    """Minimizes ``sum_k w_k loss_k(sharp, restored)``; only the generator is trained.

    Each term is the mean over an image's height, width and channels, in float32 and in the
    generator's value range.
    """

    def __init__(self, options: Options) -> None:
        self._content = ContentSum(options)

    def prepare(self) -> None:
        """Builds VGG19 if the perceptual loss is used."""
        self._content.prepare()

    def term_names(self, network: str) -> tuple[str, ...]:
        """Returns the names of the content losses."""
        return self._content.names

    def loss(self, network: str, view: View) -> Loss:
        """Returns the weighted sum and its unweighted terms."""
        terms = self._content.terms(view)
        return Loss(per_example=self._content.total(terms), terms=terms)


def build(options: Options) -> ContentObjective:
    """Builds the objective."""
    return ContentObjective(options)
