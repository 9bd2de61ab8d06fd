"""DeblurGAN-v2's strongest generator: a feature pyramid network on Inception-ResNet-v2."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers
from pydantic import Field

from tfdeblur.errors import ConfigError
from tfdeblur.models import feature_pyramid
from tfdeblur.models.feature_pyramid import RANDOM, PyramidOptions
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import CropTo, PadToMultiple, ReflectionPadding

_WIDTH, _BLOCKS = 32, (10, 20)  # of Inception-ResNet-v2
_MULTIPLE = 32
_LEAST = 128  # pixels; of smaller images the smallest features have a single pixel or none
# Rows and columns before and after the features of each level that convolutions without padding
# have taken, up to the sizes H/2 to H/32.
_BORDERS = ((0, 1), (1, 1), (1, 2), (1, 1), (1, 1))
_EPSILON = 1e-3  # added to variances by the backbone's batch norm
_PYRAMID_EPSILON = 1e-5  # by that of the pyramid, as in PyTorch

# Channels and kernels of a branch's convolutions, and the branches of each part.
_Branch = tuple[tuple[int, int | tuple[int, int]], ...]
_MIXED_5B: tuple[_Branch, ...] = (
    ((96, 1),),
    ((48, 1), (64, 5)),
    ((64, 1), (96, 3), (96, 3)),
)
_BLOCK_35: tuple[_Branch, ...] = (
    ((32, 1),),
    ((32, 1), (32, 3)),
    ((32, 1), (48, 3), (64, 3)),
)
_MIXED_6A: tuple[_Branch, ...] = (
    ((384, 3),),
    ((256, 1), (256, 3), (384, 3)),
)
_BLOCK_17: tuple[_Branch, ...] = (
    ((192, 1),),
    ((128, 1), (160, (1, 7)), (192, (7, 1))),
)
_MIXED_7A: tuple[_Branch, ...] = (
    ((256, 1), (384, 3)),
    ((256, 1), (288, 3)),
    ((256, 1), (288, 3), (320, 3)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PyramidOptions):
    """Settings of `fpn_inception`."""

    width: Annotated[int, Field(gt=0, multiple_of=2)] = 128
    """channels of the heads, even; the pyramid has twice as many"""
    backbone_width: Annotated[int, Field(gt=0, multiple_of=2)] = _WIDTH
    """channels of the backbone's first convolution, even; all others are in proportion; 32 in
    weights for ImageNet"""
    backbone_blocks: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = _BLOCKS
    """residual blocks of the backbone at H/8 and H/16; 10 and 20 in weights for ImageNet"""


def build(options: Options) -> Generator:
    """Builds the network.

    Inception-ResNet-v2 without its last blocks gives features near H/2, H/4, H/8, H/16 and H/32
    with 32, 64, 192, 1088 and 2080 channels. Its convolutions of stride 2, and some others, are not
    padded, so the features lack up to three rows and columns: after the 1x1 convolutions, which
    convert them to 256 channels (the largest to 128), they are mirrored at the borders. The rest is
    as in `fpn_mobilenet`, with twice the channels. The norm of the backbone is that of
    `feature_pyramid.backbone_norm`.

    Images of less than 128 pixels in height or width, for which the authors' code fails, are padded
    to 128 by reflection, and the output is cropped.

    Args:
        options: Settings. The defaults have 35,840,099 parameters.

    Returns:
        A generator in [-1, 1] for sizes that are multiples of 32.

    Reference:
        Kupyn et al., "DeblurGAN-v2: Deblurring (Orders-of-Magnitude) Faster and Better", ICCV
        2019, section 3.1 and figure 3; the backbone: Szegedy et al., "Inception-v4,
        Inception-ResNet and the Impact of Residual Connections on Learning", AAAI 2017, section
        3.2.
    """
    images = keras.Input((None, None, 3), name="blurred")
    large = PadToMultiple(_MULTIPLE, _LEAST, dtype="float32", name="enlarge")(images)
    backbone = _InceptionResNet(options)
    features = backbone(large)
    pretrained = keras.Model(images, features)
    laterals = [
        ReflectionPadding(border, name=f"lateral{level}_pad")(
            feature_pyramid.lateral(x, level, options)
        )
        for level, (x, border) in enumerate(zip(features, _BORDERS, strict=True))
    ]
    restored = feature_pyramid.restore(large, laterals, options, _PYRAMID_EPSILON)
    restored = CropTo(dtype="float32", name="crop")(restored, images)
    network = keras.Model(images, restored, name="fpn_inception")
    return Generator(
        network,
        "signed",
        multiple=_MULTIPLE,
        backbone=feature_pyramid.trained_before(pretrained, backbone.load, options),
    )


class _InceptionResNet:
    """Inception-ResNet-v2 up to the first features of H/32.

    Attributes:
        units: Convolutions with the norm that follows, in the order in which Keras creates them.
        residuals: The last convolutions of the residual blocks, which have Keras's names.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.units: list[tuple[Any, Any]] = []
        self.residuals: list[Any] = []

    def __call__(self, images: Any) -> list[Any]:
        """Returns the features of images, from H/2 to H/32."""
        unit = self._unit
        large, small = self._options.backbone_blocks
        x = unit(images, 32, 3, "conv2d_1a", strides=2, padding="valid")
        features = [x]
        x = unit(x, 32, 3, "conv2d_2a", padding="valid")
        x = unit(x, 64, 3, "conv2d_2b")
        features.append(x := layers.MaxPooling2D(3, 2, name="maxpool_3a")(x))
        x = unit(x, 80, 1, "conv2d_3b")
        x = unit(x, 192, 3, "conv2d_4a", padding="valid")
        features.append(x := layers.MaxPooling2D(3, 2, name="maxpool_5a")(x))
        parts = self._branches(x, _MIXED_5B, "mixed_5b")
        # Each mean is over the pixels inside the image.
        mean = layers.AveragePooling2D(3, 1, padding="same", name="mixed_5b_pool")(x)
        parts.append(unit(mean, 64, 1, "mixed_5b_branch3"))
        x = layers.Concatenate(name="mixed_5b")(parts)
        for block in range(1, large + 1):
            x = self._residual(x, _BLOCK_35, 0.17, f"block35_{block}")
        features.append(x := self._reduction(x, _MIXED_6A, "mixed_6a"))
        for block in range(1, small + 1):
            x = self._residual(x, _BLOCK_17, 0.1, f"block17_{block}")
        features.append(self._reduction(x, _MIXED_7A, "mixed_7a"))
        return features

    def _unit(self, x: Any, channels: int, kernel: Any, name: str, **geometry: Any) -> Any:
        channels = channels * self._options.backbone_width // _WIDTH
        geometry = {"padding": "same", **geometry}
        convolution = layers.Conv2D(channels, kernel, use_bias=False, name=name, **geometry)
        norm = feature_pyramid.backbone_norm(self._options, epsilon=_EPSILON, name=f"{name}_norm")
        self.units.append((convolution, norm))
        return layers.ReLU(name=f"{name}_relu")(norm(convolution(x)))

    def _branches(
        self, x: Any, branches: Sequence[_Branch], name: str, *, halve: bool = False
    ) -> list[Any]:
        """Returns the output of each branch, which halves the size in its last convolution."""
        parts = []
        for number, steps in enumerate(branches):
            part = x
            for step, (channels, kernel) in enumerate(steps):
                last = halve and step == len(steps) - 1
                geometry = {"strides": 2, "padding": "valid"} if last else {}
                part = self._unit(
                    part, channels, kernel, f"{name}_branch{number}_conv{step}", **geometry
                )
            parts.append(part)
        return parts

    def _reduction(self, x: Any, branches: Sequence[_Branch], name: str) -> Any:
        parts = self._branches(x, branches, name, halve=True)
        return layers.Concatenate(name=name)(
            [*parts, layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)]
        )

    def _residual(self, x: Any, branches: Sequence[_Branch], scale: float, name: str) -> Any:
        parts = self._branches(x, branches, name)
        mixed = layers.Concatenate(name=f"{name}_mixed")(parts)
        convolution = layers.Conv2D(x.shape[-1], 1, name=f"{name}_conv")
        self.residuals.append(convolution)
        change = layers.Rescaling(scale, name=f"{name}_scale")(convolution(mixed))
        return layers.ReLU(name=f"{name}_ac")(layers.Add(name=f"{name}_add")([x, change]))

    def load(self) -> None:
        """Sets the weights to those of Keras's InceptionResNetV2.

        Raises:
            ConfigError: The backbone has another size; or as `feature_pyramid.published`.
            UserError, DataError: As `feature_pyramid.published`.
        """
        options = self._options
        if (options.backbone_width, tuple(options.backbone_blocks)) != (_WIDTH, _BLOCKS):
            raise ConfigError(
                f"model.backbone_width, model.backbone_blocks: there are ImageNet weights for "
                f"{_WIDTH} and {list(_BLOCKS)} alone. Remove both options, start from a network "
                f"of this size (training.init_from), or set model.backbone_weights to {RANDOM!r}."
            )
        source = feature_pyramid.published("InceptionResNetV2", 299, options.backbone_weights)
        convolutions, norms = (_numbered(source, k) for k in ("conv2d", "batch_normalization"))
        # Keras's network has further ones in the blocks that are not used.
        for (convolution, norm), theirs, its_norm in zip(
            self.units, convolutions, norms, strict=False
        ):
            convolution.set_weights(theirs.get_weights())
            offset, *moving = its_norm.get_weights()  # there are no scales
            weights = [np.ones_like(offset), offset, *moving]
            norm.set_weights(weights[: len(norm.weights)])  # instance norm has no moving averages
        for convolution in self.residuals:
            convolution.set_weights(source.get_layer(convolution.name).get_weights())


def _numbered(network: keras.Model, prefix: str) -> list[Any]:
    """Returns the layers that Keras has numbered, in the order in which it created them."""
    found = [layer for layer in network.layers if re.fullmatch(rf"{prefix}(_\d+)?", layer.name)]
    return sorted(found, key=lambda x: int(x.name[len(prefix) + 1 :] or 0))
