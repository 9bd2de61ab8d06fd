"""The weighted sum of content losses that all objectives minimize."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator

from tfdeblur.losses import CONTENT_LOSSES, RELATIVE_LOSSES
from tfdeblur.losses.perceptual import PerceptualLoss
from tfdeblur.objectives.objective import Loss, Objective, View
from tfdeblur.ops.imaging import pyramid
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

    layer: str = "block3_conv3"
    """convolution of VGG19, block1_conv1 to block5_conv4"""
    after_activation: bool = True
    """compare after the ReLU, as in the papers; some code uses the input"""
    reduction: Literal["mean", "positions"] = "mean"
    """mean: over all elements of the features, as in DeblurGAN's code; positions: sum over
    channels, mean over positions, as in the papers' formula, 256 times as much at block3_conv3"""
    weights: str | None = None
    """.npz, .h5 or .keras file with VGG19; downloaded by Keras if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContentOptions:
    """Options of the content losses."""

    losses: Annotated[Mapping[str, float], AfterValidator(check_loss_names)] = dataclasses.field(
        default_factory=lambda: {"mse": 1.0}
    )
    """weights of content losses by name, such as {log_cosh: 1.0}"""
    pyramid: Literal["sum", "half_mean", "finest"] = "sum"
    """networks with several scales: sum of the losses of all scales; half of their mean (Nah et al.
    2017, equation 3); or only the finest scale"""
    perceptual: PerceptualOptions = PerceptualOptions()
    """features that the perceptual loss compares"""


class ContentObjective(Objective):
    """Minimizes ``sum_k w_k loss_k(sharp, restored)`` over the scales of the generator.

    The loss of a scale is the mean over height, width and channels at that scale, in float32 and in
    the generator's value range; its target is the sharp image reduced by 2x2 averages. The
    perceptual loss uses the finest scale only, because VGG19 was not trained on thumbnails.

    Args:
        options: Weights, scales and the layer of VGG19.
    """

    def __init__(self, options: ContentOptions) -> None:
        self._weights = {name: weight for name, weight in options.losses.items() if weight}
        self._scales = options.pyramid
        self._perceptual: PerceptualLoss | None = None
        if PERCEPTUAL in self._weights:
            chosen = options.perceptual
            self._perceptual = PerceptualLoss(**dataclasses.asdict(chosen))

    def prepare(self) -> None:
        """Builds VGG19 if the perceptual loss is used."""
        if self._perceptual is not None:
            self._perceptual.build()

    def term_names(self, network: str) -> tuple[str, ...]:
        """Returns the names of the content losses."""
        return tuple(self._weights)

    def loss(self, network: str, view: View) -> Loss:
        """Returns the weighted sum (the number 0 without any loss) and its unweighted terms."""
        outputs = view.outputs[:1] if self._scales == "finest" else view.outputs
        targets = pyramid(view.sharp, len(outputs))
        factor = 0.5 / len(outputs) if self._scales == "half_mean" else 1.0
        terms = {}
        for name in self._weights:
            if self._perceptual is not None and name == PERCEPTUAL:
                terms[name] = self._perceptual.per_example(
                    view.sharp, view.restored, data_range=view.data_range
                )
                continue
            options = {"data_range": view.data_range} if name in RELATIVE_LOSSES else {}
            parts = [
                CONTENT_LOSSES[name](target, output, **options)
                for target, output in zip(targets, outputs, strict=True)
            ]
            terms[name] = factor * sum(parts[1:], start=parts[0])
        return Loss(sum(weight * terms[name] for name, weight in self._weights.items()), terms)
