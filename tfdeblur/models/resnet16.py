"""ResNet16: a residual encoder-decoder without skip connections between both."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers, ops
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import BatchNormalization, Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `resnet16`."""

    width: Annotated[int, Field(gt=0)] = 64
    """channels of the first block; the last has 8 times as many"""
    synchronized: Synchronized = False


# On CPUs (TensorFlow 2.21, oneDNN) the filter gradient of a strided 1x1 convolution corrupts
# the heap if the side that is strided over has fewer channels. Narrow networks avoid it.
_SAFE_CHANNELS = 16


@keras.saving.register_keras_serializable(package="tfdeblur")
class PointwiseDownsampling(layers.Conv2D):
    """A 1x1 convolution of stride 2, as one of stride 1 on every second pixel."""

    def call(self, inputs: Any) -> Any:
        """Returns [B, H / 2, W / 2, filters] for inputs [B, H, W, C], sizes rounded up."""
        return ops.add(ops.conv(inputs[:, ::2, ::2], self.kernel, padding="valid"), self.bias)


@keras.saving.register_keras_serializable(package="tfdeblur")
class PointwiseUpsampling(layers.Conv2DTranspose):
    """A transposed 1x1 convolution of stride 2, as a 1x1 convolution between inserted zeros."""

    def call(self, inputs: Any) -> Any:
        """Returns [B, 2 H, 2 W, filters] for inputs [B, H, W, C]."""
        x = ops.conv(inputs, ops.transpose(self.kernel, (0, 1, 3, 2)), padding="valid")
        _, height, width, _ = ops.shape(x)
        # Zeros after each pixel, then after each row, in four dimensions, as LiteRT requires.
        x = ops.concatenate([x, ops.zeros_like(x)], axis=3)
        x = ops.reshape(x, (-1, height, 2 * width, self.filters))
        x = ops.concatenate([x, ops.zeros_like(x)], axis=2)
        x = ops.reshape(x, (-1, 2 * height, 2 * width, self.filters))
        return ops.add(x, self.bias)


def _unit(x: Any, convolution: Any, options: Options, name: str) -> Any:
    x = convolution(x)
    x = BatchNormalization(synchronized=options.synchronized, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _encoder_block(x: Any, channels: int, stride: int, options: Options, name: str) -> Any:
    first = layers.Conv2D(channels, 3, strides=stride, padding="same", name=f"{name}_conv1")
    second = layers.Conv2D(channels, 3, padding="same", name=f"{name}_conv2")
    narrow = stride == 2 and x.shape[-1] < _SAFE_CHANNELS
    pointwise = PointwiseDownsampling if narrow else layers.Conv2D
    shortcut = pointwise(channels, 1, strides=stride, name=f"{name}_shortcut")(x)
    x = _unit(x, first, options, f"{name}_1")
    x = _unit(x, second, options, f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _decoder_block(x: Any, channels: int, options: Options, name: str) -> Any:
    transposed = layers.Conv2DTranspose
    first = transposed(channels, 3, padding="same", name=f"{name}_conv1")
    second = transposed(channels, 3, strides=2, padding="same", name=f"{name}_conv2")
    # An input pixel contributes to one of four output pixels; the others only get the bias.
    pointwise = transposed if channels >= _SAFE_CHANNELS else PointwiseUpsampling
    shortcut = pointwise(channels, 1, strides=2, padding="same", name=f"{name}_shortcut")(x)
    x = _unit(x, first, options, f"{name}_1")
    x = _unit(x, second, options, f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def build(options: Options) -> Generator:
    """Builds the network.

    Four encoder blocks (3x3 convolution, batch norm, ReLU, twice, plus a 1x1 shortcut, with
    nothing after the sum) of 64, 128, 256 and 512 channels, the last three of which halve the
    size; three decoder blocks of 256, 128 and 64 channels with transposed convolutions, the second
    of which doubles the size; and a block of 1x1 convolutions to RGB. Nothing bypasses the
    bottleneck: the network restores the image from an eighth of the resolution.

    Args:
        options: Settings. The defaults have 7,366,034 parameters, including the moving statistics
            of batch norm.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 8. The output is not bounded.

    Reference:
        Orlandi and Pinardi, autoencoders and WGANs for image deblurring on TPUs: "ResNet16".
    """
    images = x = keras.Input((None, None, 3), name="blurred")
    width = options.width
    for index, (factor, stride) in enumerate(((1, 1), (2, 2), (4, 2), (8, 2)), 1):
        x = _encoder_block(x, factor * width, stride, options, f"encoder{index}")
    for index, factor in enumerate((4, 2, 1), 1):
        x = _decoder_block(x, factor * width, options, f"decoder{index}")
    shortcut = layers.Conv2D(3, 1, name="last_shortcut")(x)
    x = _unit(x, layers.Conv2D(3, 1, name="last_conv"), options, "last")
    restored = layers.Add(dtype="float32", name="restored")([x, shortcut])
    return Generator(keras.Model(images, restored, name="resnet16"), "unit", multiple=8)
