"""DeblurGAN-v2's generator: a feature pyramid network on MobileNetV2."""

import dataclasses
import pathlib
import tempfile
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from pydantic import Field

from tfdeblur.config.fields import Duration
from tfdeblur.errors import ConfigError, DataError, reason_of
from tfdeblur.models.blocks import Norm, convolve, normalize
from tfdeblur.models.generator import Backbone, Generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.models.layers import (
    BatchNormalization,
    GroupNormalization,
    Synchronized,
    depthwise,
)

RANDOM = "random"
"""Value of `backbone_weights` for a backbone that was not trained before."""

# Channels, number and stride of MobileNetV2's blocks, up to the last one that is used here.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 2, 2))
_EPSILON = {"keras": 1e-3, "pytorch": 1e-5}  # added to variances by batch norm
_TAPPED = (16, 24, 32, 64, 160)  # channels of the features that enter the pyramid
_EXPANSION = 6  # of the channels, in all blocks but the first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `fpn_mobilenet`."""

    width: Annotated[int, Field(gt=0, multiple_of=2)] = 64
    """channels of the heads, even; the pyramid has twice as many"""
    norm: Norm = "instance"
    """instance: as in the original, whose batches are single images; batch: for batches of 4 and
    more; both normalize the backbone too"""
    synchronized: Synchronized = False
    backbone: Literal["keras", "pytorch"] = "keras"
    """whose MobileNetV2 it is; keras: convolutions of stride 2 are padded at the bottom and right;
    pytorch: on all sides, as in the authors' weights"""
    backbone_weights: str | None = None
    """HDF5 file with the weights of Keras's MobileNetV2, loaded when a run starts; downloaded by
    Keras if unset; random: initial weights are random"""
    frozen: Duration = "3 epochs"
    """how long the backbone keeps the weights that it starts with; steps are those of the first
    stage"""


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

    The authors' code trains on single images and restores in training mode, so that the batch norm
    of the backbone normalizes each image separately. That is what ``instance`` computes, with the
    backbone's scales and offsets and without moving averages, for batches of any size.

    The layers of the backbone have the names of Keras's MobileNetV2.

    Args:
        options: Settings. The defaults have 2,106,627 parameters.

    Returns:
        A generator in [-1, 1] for sizes that are multiples of 32.

    Reference:
        Kupyn et al., "DeblurGAN-v2: Deblurring (Orders-of-Magnitude) Faster and Better", ICCV
        2019, section 3.1 and figure 3; the backbone: Sandler et al., "MobileNetV2: Inverted
        Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    """
    channels = 2 * options.width
    epsilon = _EPSILON[options.backbone]

    def smooth(x: Any, channels: int, name: str) -> Any:
        x = convolve(x, channels, 3, name=f"{name}_conv")
        x = normalize(
            x,
            options.norm,
            synchronized=options.synchronized,
            epsilon=epsilon,
            name=f"{name}_norm",
        )
        return layers.ReLU(name=f"{name}_relu")(x)

    def enlarge(x: Any, factor: int, name: str) -> Any:
        return layers.UpSampling2D(factor, name=f"{name}_up")(x) if factor > 1 else x

    images = keras.Input((None, None, 3), name="blurred")
    features = _mobilenet(images, options)
    pretrained = keras.Model(images, features)
    lateral = [
        convolve(x, channels if level else options.width, 1, use_bias=False, name=f"lateral{level}")
        for level, x in enumerate(features)
    ]
    x = lateral[4]
    maps = [x]
    for level in (3, 2, 1):
        name = f"pyramid{level}"
        x = layers.Add(name=f"{name}_add")([lateral[level], enlarge(x, 2, name)])
        x = smooth(x, channels, name)
        maps.append(x)
    heads = []
    for level, x in zip((4, 3, 2, 1), maps, strict=True):
        for step in (1, 2):
            name = f"head{level}_conv{step}"
            x = convolve(x, options.width, 3, use_bias=False, activation="relu", name=name)
        heads.append(enlarge(x, 2 ** (level - 1), f"head{level}"))
    x = layers.Concatenate(name="heads")(heads)
    x = enlarge(smooth(x, options.width, "smooth1"), 2, "smooth1")
    x = layers.Add(name="smooth1_add")([x, lateral[0]])
    x = enlarge(smooth(x, options.width // 2, "smooth2"), 2, "smooth2")
    x = convolve(x, 3, 3, activation="tanh", dtype="float32", name="correction")
    x = layers.Add(dtype="float32", name="add_input")([images, x])
    network = keras.Model(images, ops.clip(x, -1.0, 1.0), name="fpn_mobilenet")

    backbone = None
    if options.backbone_weights != RANDOM:
        backbone = Backbone(
            load=lambda: _load(pretrained, options),
            variables=tuple(pretrained.trainable_variables),
            frozen=options.frozen,
        )
    return Generator(network, "signed", multiple=32, backbone=backbone)


def _mobilenet(images: Any, options: Options) -> list[Any]:
    """Returns the features of MobileNetV2, each half the size of the previous one, from H/2 on."""
    border = ((0, 1), (0, 1)) if options.backbone == "keras" else 1
    epsilon = _EPSILON[options.backbone]

    def unit(x: Any, name: str, *, active: bool = True) -> Any:
        if options.norm == "instance":
            x = GroupNormalization(groups=-1, epsilon=epsilon, name=name)(x)
        else:
            x = BatchNormalization(synchronized=options.synchronized, epsilon=epsilon, name=name)(x)
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
        ConfigError: No file is set, and Keras could not download its own; or the weights belong to
            another padding.
        UserError: The file is missing or cannot be read.
        DataError: The file is damaged, or lacks a weight.
    """
    if options.backbone != "keras":
        raise ConfigError(
            f"model.backbone: {options.backbone} has no ImageNet weights to start from. Start from "
            f"converted ones (training.init_from), set model.backbone_weights to {RANDOM!r}, or "
            "choose keras."
        )
    path = options.backbone_weights
    with standard_settings():
        source = _downloaded() if path is None else _read(path)
    for layer in backbone.layers:
        if layer.weights:
            # Instance norm has no moving averages, which come last.
            layer.set_weights(source.get_layer(layer.name).get_weights()[: len(layer.weights)])


def _downloaded() -> keras.Model:
    """Returns Keras's network with the weights that Keras publishes, from its cache or the web."""
    try:
        return keras.applications.MobileNetV2(
            include_top=False, weights="imagenet", input_shape=(224, 224, 3)
        )
    except Exception as error:  # Keras raises a bare Exception if a download fails
        raise ConfigError(
            f"Keras could not download the ImageNet weights of MobileNetV2 ({reason_of(error)}): "
            f"set model.backbone_weights to a file, or to {RANDOM!r}."
        ) from error


def _read(path: str) -> keras.Model:
    """Returns Keras's network with the weights of a file."""
    # Imported here because `files` needs TensorFlow and the network itself does not.
    from tfdeblur.io import array_files, files

    data = files.read_bytes(path)
    arrays = array_files.read_hdf5(data, path)
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    # Keras tells its two formats apart by the end of the name.
    end = ".weights.h5" if any("/vars/" in name for name in arrays) else ".h5"
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / f"backbone{end}"
        copy.write_bytes(data)
        try:
            network.load_weights(copy)
        except Exception as error:  # a file of another network raises several types
            raise DataError(
                f"{path} does not have the weights of Keras's MobileNetV2 of width 1 without its "
                f"top: {reason_of(error)}."
            ) from error
    if not all(np.isfinite(value).all() for value in network.get_weights()):
        raise DataError(f"{path} is damaged: it contains values that are not finite numbers.")
    return network
