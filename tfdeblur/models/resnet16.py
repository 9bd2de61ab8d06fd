"""ResNet16: a residual encoder and decoder, without a skip from one to the other."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import BatchNormalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `resnet16`."""

    width: Annotated[
        int, Field(gt=0, description="Channels of the first block; the deepest has eight times it.")
    ] = 64
    synchronized: Annotated[
        bool,
        Field(description="Batch norm takes its statistics over all replicas, not over each."),
    ] = False


def _unit(x: Any, convolution: Any, options: Options, name: str) -> Any:
    x = convolution(x)
    x = BatchNormalization(synchronized=options.synchronized, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _encoder_block(x: Any, channels: int, stride: int, options: Options, name: str) -> Any:
    first = layers.Conv2D(channels, 3, strides=stride, padding="same", name=f"{name}_conv1")
    second = layers.Conv2D(channels, 3, padding="same", name=f"{name}_conv2")
    shortcut = layers.Conv2D(channels, 1, strides=stride, name=f"{name}_shortcut")(x)
    x = _unit(x, first, options, f"{name}_1")
    x = _unit(x, second, options, f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _decoder_block(x: Any, channels: int, options: Options, name: str) -> Any:
    transposed = layers.Conv2DTranspose
    first = transposed(channels, 3, padding="same", name=f"{name}_conv1")
    second = transposed(channels, 3, strides=2, padding="same", name=f"{name}_conv2")
    # One input pixel reaches one of four output pixels; the other three get the bias alone.
    shortcut = transposed(channels, 1, strides=2, padding="same", name=f"{name}_shortcut")(x)
    x = _unit(x, first, options, f"{name}_1")
    x = _unit(x, second, options, f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def build(options: Options) -> Generator:
    """Builds the network.

    Four encoder blocks (3x3 convolution, batch norm, ReLU, twice, plus a 1x1 shortcut, with
    nothing after the sum) of 64, 128, 256 and 512 channels, the last three halving the size;
    three decoder blocks of 256, 128 and 64 channels with transposed convolutions, the second of
    which doubles the size; and a block of 1x1 convolutions to the three colors. There is no path
    around the bottleneck: the network rebuilds the image from an eighth of the resolution.

    Args:
        options: Settings; with the defaults 7,366,034 parameters, the moving statistics of batch
            norm among them.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 8. Its last sum is linear.

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
