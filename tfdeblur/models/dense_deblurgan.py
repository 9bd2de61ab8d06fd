"""The improved DeblurGAN: separable convolutions, one dense block and skip connections."""

import dataclasses
from typing import Annotated, Any, Literal

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models import blocks
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `dense_deblurgan`."""

    width: Annotated[int, Field(gt=0)] = 64
    """channels at full size, doubled at both lower scales"""
    growth: Annotated[int, Field(gt=0)] = 32
    """channels added by each dense layer"""
    layers: Annotated[int, Field(gt=0)] = 9
    """layers of the dense block"""
    separable: Literal["down", "all"] = "down"
    """3x3 convolutions that are depthwise, each with the 1x1 convolution after it: down: those of
    the downsampling; all: also those of the dense layers"""
    norm: blocks.Norm = "batch"
    """batch: for batches of 4 and more; instance: for batches of 1"""
    padding: blocks.Padding = "reflect"
    """border of the 7x7 and the dense convolutions"""
    upsampling: blocks.Upsampling = "transposed"
    """transposed: the paper; resize: no checkerboard artifacts"""
    synchronized: Synchronized = False


def build(options: Options) -> Generator:
    """Builds the network.

    A 7x7 convolution to 64 channels; downsampling to 128 and 256 channels, each time by a depthwise
    3x3 convolution of stride 2 and a 1x1 convolution; a dense block of nine layers, each a 3x3 and
    a 1x1 convolution that take all features before them and add 32 channels; a 1x1 convolution
    back to 256; upsampling to 128 and 64, each time by a transposed 3x1 convolution of stride
    (2, 1) and a 1x3 one of stride (1, 2); a 7x7 convolution and tanh. Norm and ReLU follow every
    convolution except the depthwise ones and the last. After each upsampling, the encoder features
    of the same size are concatenated: those at H/2, then those of the stem at H.

    The paper specifies neither the widths nor the positions of the norms; they are chosen here. So
    is the reading of its "depthwise separable convolutions", which it builds from 3x3 and 1x1
    convolutions: those of the downsampling, or with ``separable="all"`` those of the dense layers
    too, whose 3x3 convolutions then filter each channel alone, without norm and ReLU. The paper
    does not specify either whether the input is added at the end. It is, clip(input + tanh, -1, 1),
    because the paper changes only the inner part of DeblurGAN, and because a network that starts
    near its input learns faster. DeblurGAN's dropout is not mentioned and is omitted.

    Args:
        options: Settings. The defaults have 1,430,275 parameters, including the moving statistics
            of batch norm; with ``separable="all"`` 566,275.

    Returns:
        A generator in [-1, 1] for sizes that are multiples of 4.

    Reference:
        Zhang and Wang, improved DeblurGAN with dense connections and separable convolutions, after
        Kupyn et al., "DeblurGAN", CVPR 2018.
    """
    biased = options.norm == "instance"  # a bias before batch norm has no effect

    def unit(x: Any, name: str) -> Any:
        x = blocks.normalize(
            x, options.norm, synchronized=options.synchronized, name=f"{name}_norm"
        )
        return layers.ReLU(name=f"{name}_relu")(x)

    def convolution(x: Any, channels: int, kernel: int, name: str) -> Any:
        padding = options.padding if kernel > 1 else "zero"
        x = blocks.convolve(
            x, channels, kernel, padding=padding, use_bias=biased, name=f"{name}_conv"
        )
        return unit(x, name)

    images = x = keras.Input((None, None, 3), name="blurred")
    x = convolution(x, options.width, 7, "stem")
    skips = [x]
    for level in (1, 2):
        name = f"down{level}"
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        x = layers.DepthwiseConv2D(3, strides=2, use_bias=biased, name=f"{name}_depthwise")(x)
        x = convolution(x, options.width * 2**level, 1, name)
        skips.append(x)
    for index in range(1, options.layers + 1):
        name = f"dense{index}"
        if options.separable == "all":
            new = blocks.convolve(
                x, None, 3, padding=options.padding, use_bias=biased, name=f"{name}_depthwise"
            )
        else:
            new = convolution(x, options.growth, 3, f"{name}_1")
        new = convolution(new, options.growth, 1, f"{name}_2")
        x = layers.Concatenate(name=f"{name}_join")([x, new])
    x = convolution(x, 4 * options.width, 1, "transition")
    for level in (1, 0):
        for kernel, axis in (((3, 1), "rows"), ((1, 3), "columns")):
            name = f"up{level}_{axis}"
            x = blocks.double(
                x,
                options.width * 2**level,
                kernel=kernel,
                upsampling=options.upsampling,
                use_bias=biased,
                name=f"{name}_conv",
            )
            x = unit(x, name)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x])
    restored = blocks.correct(images, x, padding=options.padding)
    return Generator(keras.Model(images, restored, name="dense_deblurgan"), "signed", multiple=4)
