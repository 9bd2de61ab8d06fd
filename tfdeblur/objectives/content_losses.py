"""The part of a loss that compares with the truth, shared by all objectives."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tfdeblur.losses.perceptual import PerceptualLoss
from tfdeblur.losses.pixel import CONTENT_LOSSES
from tfdeblur.objectives.objective import Tensor, View
from tfdeblur.ops.imaging import pyramid
from tfdeblur.registry import did_you_mean

PERCEPTUAL = "perceptual"


def check_loss_names(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Refuses names that are no content loss."""
    known = [*CONTENT_LOSSES, PERCEPTUAL]
    unknown = [name for name in weights if name not in known]
    if unknown:
        hints = "; ".join(f"{name!r}.{did_you_mean(name, known)}" for name in unknown)
        raise ValueError(f"unknown content loss {hints}")
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualOptions:
    """Which features of VGG19 the perceptual loss compares."""

    layer: Annotated[
        str, Field(description="VGG19's convolution, block1_conv1 to block5_conv4")
    ] = "block3_conv3"
    after_activation: Annotated[
        bool, Field(description="compare after the ReLU, as papers write; some code does before")
    ] = True
    weights: Annotated[
        str | None,
        Field(description=".npz, .h5 or .keras with VGG19; Keras's own download where not given"),
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContentOptions:
    """Options of the comparison with the truth."""

    losses: Annotated[
        Mapping[str, float],
        AfterValidator(check_loss_names),
        Field(description="weight of each content loss by name, such as {log_cosh: 1.0}"),
    ] = dataclasses.field(default_factory=lambda: {"mse": 1.0})
    pyramid: Annotated[
        Literal["sum", "half_mean", "finest"],
        Field(
            description="networks with several scales: sum of the scales' losses; half of their "
            "mean (Nah et al. 2017, equation 3); or the finest alone"
        ),
    ] = "sum"
    perceptual: Annotated[
        PerceptualOptions, Field(description="features that the perceptual loss compares")
    ] = PerceptualOptions()


class ContentSum:
    """A weighted sum of content losses over a network's scales.

    A loss at a scale is the mean over an image's height, width and channels there, against the
    truth reduced by 2x2 averages. The perceptual loss looks at the finest scale alone: VGG19 knows
    nothing of thumbnails.

    Args:
        options: Weights, scales and VGG19's layer.
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
        """The losses' names, in the order of the weights."""
        return tuple(self.weights)

    def prepare(self) -> None:
        """Builds VGG19 where it is needed."""
        if self._perceptual is not None:
            self._perceptual.build()

    def terms(self, view: View) -> dict[str, Tensor]:
        """Returns each loss, unweighted, float32 [B]."""
        outputs = view.outputs[:1] if self._scales == "finest" else view.outputs
        truths = pyramid(view.sharp, len(outputs))
        factor = 0.5 / len(outputs) if self._scales == "half_mean" else 1.0
        terms = {}
        for name in self.weights:
            if self._perceptual is not None and name == PERCEPTUAL:
                terms[name] = self._perceptual.per_example(
                    view.sharp, view.restored, data_range=view.data_range
                )
                continue
            parts = [
                CONTENT_LOSSES[name](truth, output, data_range=view.data_range)
                for truth, output in zip(truths, outputs, strict=True)
            ]
            terms[name] = factor * sum(parts[1:], start=parts[0])
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of `terms`, float32 [B]; the number 0 without any loss."""
        return sum(weight * terms[name] for name, weight in self.weights.items())
