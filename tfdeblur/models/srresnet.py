"""SRResNet at scale 1: SRGAN's generator without its upsampling."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import BatchNormalization, Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `srresnet`."""

    width: Annotated[int, Field(gt=0)] = 64
    """channels of every hidden convolution"""
    blocks: Annotated[int, Field(gt=0)] = 16
    """residual blocks"""
    synchronized: Synchronized = False


def build(options: Options) -> Generator:
    """Builds the network.

    A 9x9 convolution to 64 channels and PReLU; 16 blocks of 3x3 convolution, batch norm, PReLU,
    3x3 convolution, batch norm, plus the block's input; a 3x3 convolution and batch norm, plus the
    input of the first block; a 9x9 convolution to RGB and tanh. The image is not added at the end.
    PReLU has one slope per channel, initially 0.25.

    Args:
        options: Settings. The defaults have 1,259,331 parameters, including the moving statistics
            of batch norm.

    Returns:
        A generator in [-1, 1] for any size.

    Reference:
        Kuspys and Lutchyn, DeblurGAN_PRO: "SRGAN", after Ledig et al., "Photo-Realistic Single
        Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017, figure 4.
    """

    def convolution(x: Any, name: str) -> Any:
        x = layers.Conv2D(options.width, 3, padding="same", name=f"{name}_conv")(x)
        return BatchNormalization(synchronized=options.synchronized, name=f"{name}_norm")(x)

    def activation(x: Any, name: str) -> Any:
        slope = keras.initializers.Constant(0.25)
        return layers.PReLU(slope, shared_axes=[1, 2], name=f"{name}_prelu")(x)

    images = x = keras.Input((None, None, 3), name="blurred")
    x = layers.Conv2D(options.width, 9, padding="same", name="stem_conv")(x)
    x = stem = activation(x, "stem")
    for index in range(1, options.blocks + 1):
        name, shortcut = f"block{index}", x
        x = activation(convolution(x, f"{name}_1"), name)
        x = convolution(x, f"{name}_2")
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    x = layers.Add(name="join_add")([stem, convolution(x, "join")])
    restored = layers.Conv2D(
        3, 9, padding="same", activation="tanh", dtype="float32", name="restored"
    )(x)
    return Generator(keras.Model(images, restored, name="srresnet"), "signed", multiple=1)
