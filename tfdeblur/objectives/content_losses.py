"""The weighted sum of content losses that all objectives share."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tfdeblur.losses import CONTENT_LOSSES
from tfdeblur.losses.perceptual import PerceptualLoss
from tfdeblur.objectives.objective import View
from tfdeblur.ops.imaging import pyramid
from tfdeblur.ops.shapes import PerExample
from tfdeblur.registry import did_you_mean

PERCEPTUAL = "perceptual"


def check_loss_names(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Rejects unknown content losses.

    Raises:
        ValueError: Names the unknown losses and the nearest known ones.
    """
    known = [*CONTENT_LOSSES, PERCEPTUAL]
    unknown = [name for name in weights if name not in known]
    if unknown:
        hints = "; ".join(f"{name!r}.{did_you_mean(name, known)}" for name in unknown)
        raise ValueError(f"unknown content loss {hints}")
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualOptions:
    """The VGG19 features that the perceptual loss compares."""

    layer: Annotated[
        str, Field(description="convolution of VGG19, block1_conv1 to block5_conv4")
    ] = "block3_conv3"
    after_activation: Annotated[
        bool,
        Field(description="compare after the ReLU, as in the papers; some code uses the input"),
    ] = True
    weights: Annotated[
        str | None,
        Field(description=".npz, .h5 or .keras file with VGG19; downloaded by Keras if unset"),
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContentOptions:
    """Options of the content losses."""

    losses: Annotated[
        Mapping[str, float],
        AfterValidator(check_loss_names),
        Field(description="weights of content losses by name, such as {log_cosh: 1.0}"),
    ] = dataclasses.field(default_factory=lambda: {"mse": 1.0})
    pyramid: Annotated[
        Literal["sum", "half_mean", "finest"],
        Field(
            description="networks with several scales: sum of the losses of all scales; half of "
            "their mean (Nah et al. 2017, equation 3); or only the finest scale"
        ),
    ] = "sum"
    perceptual: Annotated[
        PerceptualOptions, Field(description="features that the perceptual loss compares")
    ] = PerceptualOptions()


class ContentSum:
    """A weighted sum of content losses over the scales of a network.

    The loss of a scale is the mean over height, width and channels at that scale; its target is
    the sharp image reduced by 2x2 averages. The perceptual loss uses the finest scale only,
    because VGG19 was not trained on thumbnails.

    Args:
        options: Weights, scales and the layer of VGG19.
    """

    def __init__(self, options: ContentOptions) -> None:
        self.weights = {name: weight for name, weight in options.losses.items() if weight}
        self._scales = options.pyramid
        self._perceptual: PerceptualLoss | None = None
        if PERCEPTUAL in self.weights:
            chosen = options.perceptual
            self._perceptual = PerceptualLoss(chosen.layer, chosen.after_activation, chosen.weights)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the losses, in the order of the weights."""
        return tuple(self.weights)

    def prepare(self) -> None:
        """Builds VGG19 if the perceptual loss is used."""
        if self._perceptual is not None:
            self._perceptual.build()

    def terms(self, view: View) -> dict[str, PerExample]:
        """Returns each loss, unweighted, float32 [B]."""
        outputs = view.outputs[:1] if self._scales == "finest" else view.outputs
        targets = pyramid(view.sharp, len(outputs))
        factor = 0.5 / len(outputs) if self._scales == "half_mean" else 1.0
        terms = {}
        for name in self.weights:
            if self._perceptual is not None and name == PERCEPTUAL:
                terms[name] = self._perceptual.per_example(
                    view.sharp, view.restored, data_range=view.data_range
                )
                continue
            parts = [
                CONTENT_LOSSES[name](target, output, data_range=view.data_range)
                for target, output in zip(targets, outputs, strict=True)
            ]
            terms[name] = factor * sum(parts[1:], start=parts[0])
        return terms

    def total(self, terms: Mapping[str, PerExample]) -> PerExample:
        """Returns the weighted sum of `terms`, float32 [B]; the number 0 without any loss."""
        return sum(weight * terms[name] for name, weight in self.weights.items())
