"""Base class of objectives: a loss for each network, and the order of the networks' updates."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfdeblur.ops.shapes import ImageBatch, PerExample, Tensor

GENERATOR = "generator"
CRITIC = "critic"

GradientOperator = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""``gradient(f, x)``: the gradient of the sum of ``f(x)`` with respect to `x`, itself
differentiable. The training step provides it, so objectives do not depend on the engine."""


@dataclasses.dataclass(frozen=True)
class View:
    """The inputs of a loss: one batch, the generator's outputs and the critics.

    Attributes:
        blurred: float32 [B, H, W, 3] in the generator's value range.
        sharp: float32 [B, H, W, 3] in the generator's value range.
        outputs: The generator's outputs, finest first, each float32 [B, h, w, 3]. Gradients flow
            through them only to the generator's own loss.
        critics: Critics by name. ``critic`` is a `models.critics` critic: `scores` evaluates one
            batch of images, `scores_of_both` two batches at once.
        data_range: Width of the value range: 1 for ``unit``, 2 for ``signed``.
        gradient: Computes gradients inside a loss, such as that of the gradient penalty.
        uniform: float32 [B], one draw from [0, 1) per image and update. It depends only on the
            run's seed and the image's position, not on the number of devices.
        batch_mean: Differentiable mean of a tensor over all its elements and over the images of
            all devices, a float32 scalar. With gradient accumulation: over one micro-batch.
    """

    blurred: ImageBatch
    sharp: ImageBatch
    outputs: tuple[ImageBatch, ...]
    critics: Mapping[str, Any]
    data_range: float
    gradient: GradientOperator
    uniform: PerExample
    batch_mean: Callable[[Tensor], Tensor]

    @property
    def restored(self) -> ImageBatch:
        """The finest output, float32 [B, H, W, 3]."""
        return self.outputs[0]


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of one network.

    Attributes:
        per_example: float32 [B], minimized by the network.
        terms: Unweighted parts that are logged separately, each float32 [B].
    """

    per_example: PerExample
    terms: Mapping[str, PerExample] = dataclasses.field(default_factory=dict)


class Objective(abc.ABC):
    """The mathematics of a training run: pure functions from networks and a batch to losses.

    Attributes:
        updates: The networks updated by one training step, in order. The generator is updated
            once, last; a critic that is updated five times is listed five times.
        weight_clip: By network, the maximum magnitude of its weights after an update.
    """

    updates: tuple[str, ...] = (GENERATOR,)
    weight_clip: Mapping[str, float] = {}

    def prepare(self) -> None:  # noqa: B027  # most objectives have nothing to prepare
        """Builds networks that are never trained, such as VGG19.

        Called once before the first loss, where variables can be created.
        """

    @abc.abstractmethod
    def term_names(self, network: str) -> tuple[str, ...]:
        """Returns the names of the terms that `loss` returns for a network."""

    @abc.abstractmethod
    def loss(self, network: str, view: View) -> Loss:
        """Returns the loss of one network on one batch."""
