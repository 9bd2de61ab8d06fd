"""The generator: a network with its value range and its constraint on sizes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from tfdeblur.models import layers
from tfdeblur.ops import imaging

CUSTOM = "custom"
"""The name of a network that was passed from Python, in configurations and checkpoints."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The part of a network that was trained before, on other images.

    Attributes:
        load: Sets its weights. Training calls it when a run starts from no other weights, so that
            restoring images downloads nothing.
        variables: Its trainable variables.
        frozen: How long they keep the weights that they start with: 'N epochs', 'N steps' or
            'N images'.
    """

    load: Callable[[], None]
    variables: Sequence[keras.Variable]
    frozen: str


@dataclasses.dataclass(frozen=True)
class Generator:
    """A network that restores images, with the properties of its inputs.

    Attributes:
        network: Keras model from [B, H, W, 3] in `value_range`, H and W multiples of `multiple`,
            to float32 [B, H, W, 3] in `value_range`, or to a list of such tensors, each half the
            size of the previous one (a pyramid, finest first).
        value_range: Range of inputs and outputs, ``unit`` [0, 1] or ``signed`` [-1, 1].
        multiple: Height and width must be multiples of this.
        backbone: The part that was trained before, if there is one.
        name: Name of the plug-in that built it, set by `tfdeblur.models.create`.
        options: All options of the plug-in by name, set by `tfdeblur.models.create`.
    """

    network: keras.Model
    value_range: imaging.ValueRange
    multiple: int
    backbone: Backbone | None = None
    name: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def as_unit_model(self) -> keras.Model:
        """Wraps the network for images of any size in [0, 1].

        The wrapper pads by reflection, converts the range, runs the network, takes the finest
        output, crops and converts back, all in float32 outside the network. It shares the
        network's weights: training one trains the other.

        Returns:
            A functional model from float32 [B, H, W, 3] in [0, 1] to float32 [B, H, W, 3], not
            clipped.

        Example:
            >>> import numpy as np
            >>> from tfdeblur import models
            >>> model = models.create("unet16").as_unit_model()
            >>> tuple(model(np.zeros((1, 30, 41, 3), "float32")).shape)
            (1, 30, 41, 3)
        """
        images = keras.Input((None, None, 3), dtype="float32", name="images")
        x = layers.PadToMultiple(self.multiple, dtype="float32", name="pad")(images)
        outputs = self.network(imaging.to_range(x, self.value_range))
        finest = outputs[0] if isinstance(outputs, list | tuple) else outputs
        x = layers.CropTo(dtype="float32", name="crop")(finest, images)
        unit = imaging.to_unit(x, self.value_range)
        return keras.Model(images, unit, name=f"{self.network.name}_unit")


Model: TypeAlias = keras.Model | Generator | Callable[[], keras.Model | Generator]


def as_generator(model: Model) -> Generator:
    """Returns a user's network as a generator; see `training.trainer.Trainer` for its forms."""
    given: Any = model
    built = given if isinstance(model, keras.Model | Generator) else given()
    if not isinstance(built, Generator):
        built = Generator(built, value_range="unit", multiple=1)
    return dataclasses.replace(built, name=built.name or CUSTOM)
