"""A weighted sum of content losses: the difference between restored and sharp images."""

import dataclasses

from tfdeblur.objectives.content_losses import ContentObjective, ContentOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ContentOptions):
    """Options of the content objective."""

    def __post_init__(self) -> None:
        if not any(self.losses.values()):
            raise ValueError("losses: at least one loss needs a weight other than 0")


build = ContentObjective
"""Builds the objective; only the generator is trained."""
