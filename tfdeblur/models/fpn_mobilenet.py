"""DeblurGAN-v2's generator: a feature pyramid network on MobileNetV2."""

import dataclasses
from typing import Any, Literal

import keras
from keras import layers

from tfdeblur.errors import ConfigError
from tfdeblur.models import feature_pyramid
from tfdeblur.models.blocks import convolve
from tfdeblur.models.feature_pyramid import RANDOM, PyramidOptions
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import depthwise

# Channels, number and stride of MobileNetV2's blocks, up to the last one that is used here.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 2, 2))
_EPSILON = {"keras": 1e-3, "pytorch": 1e-5}  # added to variances by batch norm
_TAPPED = (16, 24, 32, 64, 160)  # channels of the features that enter the pyramid
_EXPANSION = 6  # of the channels, in all blocks but the first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PyramidOptions):
    """Settings of `fpn_mobilenet`."""

    backbone: Literal["keras", "pytorch"] = "keras"
    """whose MobileNetV2 it is; keras: convolutions of stride 2 are padded at the bottom and right;
    pytorch: on all sides, as in the authors' weights"""


def build(options: Options) -> Generator:
    """Builds the network.

    MobileNetV2 without its last blocks gives features at H/2, H/4, H/8, H/16 and H/32 with 16, 24,
    32, 64 and 160 channels. 1x1 convolutions convert them to 128 channels (the largest to 64). From
    the smallest up, features are doubled by repeating pixels and added to the next larger ones,
    followed by a 3x3 convolution, norm and ReLU. Each of the four maps from H/4 to H/32 has a head
    of two 3x3 convolutions with ReLU to 64 channels. The heads' outputs are enlarged to H/4,
    concatenated, and smoothed by a 3x3 convolution, norm and ReLU; doubled, added to the largest
    features, and smoothed again, to 32 channels; and doubled and convolved 3x3 to RGB. The output
    is clip(input + tanh, -1, 1).

    The norm of the backbone is that of `feature_pyramid.backbone_norm`. Its layers have the names
    of Keras's MobileNetV2.

    Args:
        options: Settings. The defaults have 2,106,627 parameters.

    Returns:
        A generator in [-1, 1] for sizes that are multiples of 32.

    Reference:
        Kupyn et al., "DeblurGAN-v2: Deblurring (Orders-of-Magnitude) Faster and Better", ICCV
        2019, section 3.1 and figure 3; the backbone: Sandler et al., "MobileNetV2: Inverted
        Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    """
    images = keras.Input((None, None, 3), name="blurred")
    features = _mobilenet(images, options)
    pretrained = keras.Model(images, features)
    laterals = [feature_pyramid.lateral(x, level, options) for level, x in enumerate(features)]
    restored = feature_pyramid.restore(images, laterals, options, _EPSILON[options.backbone])
    network = keras.Model(images, restored, name="fpn_mobilenet")
    backbone = feature_pyramid.trained_before(
        pretrained, lambda: _load(pretrained, options), options
    )
    return Generator(network, "signed", multiple=32, backbone=backbone)


def _mobilenet(images: Any, options: Options) -> list[Any]:
    """Returns the features of MobileNetV2, each half the size of the previous one, from H/2 on."""
    border = ((0, 1), (0, 1)) if options.backbone == "keras" else 1
    epsilon = _EPSILON[options.backbone]

    def unit(x: Any, name: str, *, active: bool = True) -> Any:
        x = feature_pyramid.backbone_norm(options, epsilon=epsilon, name=name)(x)
        return layers.ReLU(6, name=f"{name}_relu")(x) if active else x

    def pointwise(x: Any, channels: int, name: str, *, active: bool) -> Any:
        x = convolve(x, channels, 1, use_bias=False, name=name)
        return unit(x, f"{name}_BN", active=active)

    x = layers.ZeroPadding2D(border, name="Conv1_pad")(images)
    x = layers.Conv2D(32, 3, strides=2, use_bias=False, name="Conv1")(x)
    x = unit(x, "bn_Conv1")
    features, index = [], 0
    for channels, count, first_stride in _STAGES:
        for stride in (first_stride, *(1,) * (count - 1)):
            name = f"block_{index}" if index else "expanded_conv"
            shortcut = x
            if index:
                x = pointwise(x, _EXPANSION * x.shape[-1], f"{name}_expand", active=True)
            if stride == 2:
                x = layers.ZeroPadding2D(border, name=f"{name}_pad")(x)
            padding = "same" if stride == 1 else "valid"
            x = depthwise(x, f"{name}_depthwise", stride, padding)
            x = unit(x, f"{name}_depthwise_BN")
            x = pointwise(x, channels, f"{name}_project", active=False)
            if stride == 1 and shortcut.shape[-1] == channels:
                x = layers.Add(name=f"{name}_add")([shortcut, x])
            index += 1
        if channels in _TAPPED:
            features.append(x)
    return features


def _load(backbone: keras.Model, options: Options) -> None:
    """Sets the weights of the backbone to those of Keras's MobileNetV2.

    Raises:
        ConfigError: The weights belong to another padding; or as `feature_pyramid.published`.
        UserError, DataError: As `feature_pyramid.published`.
    """
    if options.backbone != "keras":
        raise ConfigError(
            f"model.backbone: {options.backbone} has no ImageNet weights to start from. Start from "
            f"converted ones (training.init_from), set model.backbone_weights to {RANDOM!r}, or "
            "choose keras."
        )
    source = feature_pyramid.published("MobileNetV2", 224, options.backbone_weights)
    for layer in backbone.layers:
        if layer.weights:
            # Instance norm has no moving averages, which come last.
            layer.set_weights(source.get_layer(layer.name).get_weights()[: len(layer.weights)])
