"""MSDeblur: one residual network per scale, from coarse to fine."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import BatchNormalization, Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `ms_deblur`."""

    scales: Annotated[int, Field(gt=0, le=8)] = 3
    """number of scales"""
    blocks: Annotated[int, Field(gt=0)] = 19
    """residual blocks per scale; 5 on REDS"""
    width: Annotated[int, Field(gt=0)] = 64
    """channels of every hidden convolution"""
    stem: Annotated[int, Field(gt=0)] = 61
    """features of the coarser output, concatenated with the finer input: 61 in the authors' code,
    for 64 input channels of the next convolution; 64 in their text"""
    synchronized: Synchronized = False


def build(options: Options) -> Generator:
    """Builds the network.

    The input is downsampled by 2x2 averages. At each scale, starting with the smallest: a 5x5
    convolution to 64 channels; 19 blocks of 5x5 convolution, batch norm, ReLU, 5x5 convolution,
    batch norm, plus the block's input, with nothing after the sum; a 5x5 convolution to RGB and
    tanh. A 5x5 transposed convolution of stride 2 of that output is concatenated with the input of
    the next scale.

    Args:
        options: Settings. The defaults have 11,943,553 parameters, including the moving statistics
            of batch norm.

    Returns:
        A generator in [-1, 1] with one output per scale, finest first (a single output with
        `scales=1`), for sizes that are multiples of 2^(scales - 1).

    Reference:
        Orlandi and Pinardi, autoencoders and WGANs for image deblurring on TPUs: "MSDeblurWGAN",
        after Nah et al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene
        Deblurring", CVPR 2017, section 3.
    """

    def convolution(x: Any, name: str) -> Any:
        return layers.Conv2D(options.width, 5, padding="same", name=f"{name}_conv")(x)

    def norm(x: Any, name: str) -> Any:
        return BatchNormalization(synchronized=options.synchronized, name=f"{name}_norm")(x)

    images = keras.Input((None, None, 3), name="blurred")
    pyramid = [images]
    for scale in range(1, options.scales):
        pool = layers.AveragePooling2D(2, dtype="float32", name=f"blurred{scale}")
        pyramid.append(pool(pyramid[-1]))

    outputs: list[Any] = []
    for scale in reversed(range(options.scales)):
        x = pyramid[scale]
        if outputs:
            up = layers.Conv2DTranspose(
                options.stem, 5, strides=2, padding="same", name=f"scale{scale}_up"
            )(outputs[0])
            x = layers.Concatenate(name=f"scale{scale}_join")([x, up])
        x = convolution(x, f"scale{scale}_stem")
        for index in range(1, options.blocks + 1):
            name, shortcut = f"scale{scale}_block{index}", x
            x = norm(convolution(x, f"{name}_1"), f"{name}_1")
            x = layers.ReLU(name=f"{name}_relu")(x)
            x = norm(convolution(x, f"{name}_2"), f"{name}_2")
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        last = layers.Conv2D(
            3, 5, padding="same", activation="tanh", dtype="float32", name=f"restored{scale}"
        )
        outputs.insert(0, last(x))
    network = keras.Model(images, outputs if len(outputs) > 1 else outputs[0], name="ms_deblur")
    return Generator(network, "signed", multiple=2 ** (options.scales - 1))
