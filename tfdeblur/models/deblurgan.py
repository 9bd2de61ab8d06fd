"""DeblurGAN's generator: residual blocks at a quarter of the size and a global skip."""

import dataclasses
from typing import Annotated, Any, Literal

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.blocks import (
    Norm,
    Padding,
    Upsampling,
    convolve,
    correct,
    double,
    halve,
    normalize,
)
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import Dropout, Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `deblurgan`."""

    blocks: Annotated[int, Field(gt=0)] = 9
    """residual blocks; the papers use 9 and 6"""
    width: Annotated[int, Field(gt=0)] = 64
    """channels at full size; the blocks have four times as many"""
    convolutions: Literal[1, 2] = 2
    """convolutions of a block; 2: the paper; 1: the authors' present code, whose blocks end with
    norm, and with ReLU and dropout if there is dropout"""
    norm: Norm = "batch"
    """batch: for batches of 4 and more; instance: as in the original"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """dropout rate between the two convolutions of a block, or at its end if it has one"""
    padding: Padding = "reflect"
    """border of the 7x7 convolutions and the blocks; reflect: the original"""
    upsampling: Upsampling = "transposed"
    """transposed: the original; resize: no checkerboard artifacts"""
    synchronized: Synchronized = False
    epsilon: Annotated[float, Field(gt=0)] = 1e-3
    """added to the variance by batch norm; PyTorch adds 1e-5"""
    residual: bool = True
    """add the output to the input; off: the output is the image"""


def build(options: Options) -> Generator:
    """Builds the network.

    A 7x7 convolution to 64 channels, two 3x3 convolutions of stride 2 to 128 and 256, nine
    residual blocks (3x3 convolution, norm, ReLU, dropout, 3x3 convolution, norm, plus the input;
    no ReLU after the sum), upsampling to 128 and 64 channels, a 7x7 convolution to RGB and tanh.
    Norm and ReLU follow every convolution outside the blocks except the last. The output is
    clip(input + tanh, -1, 1), or tanh alone without `residual`. As in the original's code,
    convolutions before batch norm have no bias, those before instance norm have one, and
    instance norm has no weights.

    With one convolution, a block is the one that the authors' present code builds: 3x3
    convolution, norm, and, with dropout, ReLU and dropout, plus the input. Weights trained with
    that code have this shape.

    Args:
        options: Settings. The defaults have 11,383,427 trainable parameters and 10,496 moving
            statistics; with instance norm 11,378,179 parameters, and 6,067,459 if the blocks also
            have one convolution.

    Returns:
        A generator in [-1, 1] for sizes that are multiples of 4.

    Reference:
        Kupyn et al., "DeblurGAN: Blind Motion Deblurring Using Conditional Adversarial Networks",
        CVPR 2018, section 3.2; reimplemented with batch norm by Batwal et al.
    """
    biased = options.norm == "instance"

    def unit(x: Any, name: str) -> Any:
        return normalize(
            x,
            options.norm,
            synchronized=options.synchronized,
            epsilon=options.epsilon,
            name=f"{name}_norm",
        )

    def convolution(x: Any, channels: int, kernel: int, name: str) -> Any:
        return convolve(
            x, channels, kernel, padding=options.padding, use_bias=biased, name=f"{name}_conv"
        )

    images = x = keras.Input((None, None, 3), name="blurred")
    x = layers.ReLU(name="stem_relu")(unit(convolution(x, options.width, 7, "stem"), "stem"))
    for level in (1, 2):
        name = f"down{level}"
        x = halve(x, options.width * 2**level, use_bias=biased, name=f"{name}_conv")
        x = layers.ReLU(name=f"{name}_relu")(unit(x, name))
    for index in range(1, options.blocks + 1):
        name, shortcut = f"block{index}", x
        x = unit(convolution(x, 4 * options.width, 3, f"{name}_1"), f"{name}_1")
        if options.convolutions == 2 or options.dropout:
            x = layers.ReLU(name=f"{name}_relu")(x)
            x = Dropout(options.dropout, name=f"{name}_dropout")(x)
        if options.convolutions == 2:
            x = unit(convolution(x, 4 * options.width, 3, f"{name}_2"), f"{name}_2")
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    for level in (1, 0):
        name = f"up{level}"
        x = double(
            x,
            options.width * 2**level,
            upsampling=options.upsampling,
            use_bias=biased,
            name=f"{name}_conv",
        )
        x = layers.ReLU(name=f"{name}_relu")(unit(x, name))
    restored = correct(images, x, padding=options.padding, residual=options.residual)
    return Generator(keras.Model(images, restored, name="deblurgan"), "signed", multiple=4)
