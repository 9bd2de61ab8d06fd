"""REDNet30: a deep encoder-decoder at full resolution with symmetric skip connections."""

import dataclasses
from typing import Annotated, Any, Literal

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import BatchNormalization, Synchronized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `rednet30`."""

    depth: Literal[10, 20, 30] = 30
    """number of 3x3 convolutions, half of them in the encoder"""
    width: Annotated[int, Field(gt=0)] = 64
    """channels of every 3x3 convolution"""
    output: Literal["elu", "tanh"] = "elu"
    """last activation: elu for images in [0, 1], tanh in [-1, 1] (GAN)"""
    synchronized: Synchronized = False


def _activate_and_normalize(x: Any, options: Options, name: str) -> Any:
    x = layers.Activation("elu", name=f"{name}_elu")(x)
    return BatchNormalization(synchronized=options.synchronized, name=f"{name}_norm")(x)


def build(options: Options) -> Generator:
    """Builds the network.

    With n = depth / 2, the encoder is n times (3x3 convolution, ELU, batch norm) and the decoder n
    times the same, where output k of the encoder is added to the mirrored convolution n + 1 - k of
    the decoder, before the ELU. This applies to every second k, from the outermost pair (k = 1 and
    the last convolution) inwards: eight times at depth 30, five at 20, three at 10. A 1x1
    convolution to RGB follows, to which the input is added before the last activation. As all
    strides are 1, transposed convolutions would be convolutions with mirrored weights; plain
    convolutions are used because they are faster on CPUs.

    Args:
        options: Settings. The defaults have 1,080,579 parameters, including the moving statistics
            of batch norm.

    Returns:
        A generator for any size, in [0, 1] with `output="elu"` and in [-1, 1] with "tanh".

    Reference:
        Orlandi and Pinardi, autoencoders and WGANs for image deblurring on TPUs: "REDNet30", after
        Mao et al., "Image Restoration Using Very Deep Convolutional Encoder-Decoder Networks with
        Symmetric Skip Connections", NIPS 2016, section 3.
    """
    images = x = keras.Input((None, None, 3), name="blurred")
    half = options.depth // 2
    skips: dict[int, Any] = {}
    for index in range(1, half + 1):
        name = f"encoder{index}"
        x = layers.Conv2D(options.width, 3, padding="same", name=f"{name}_conv")(x)
        x = _activate_and_normalize(x, options, name)
        if index % 2 == 1:
            skips[index] = x
    for index in range(1, half + 1):
        name = f"decoder{index}"
        x = layers.Conv2D(options.width, 3, padding="same", name=f"{name}_conv")(x)
        if (mirrored := half + 1 - index) in skips:
            x = layers.Add(name=f"{name}_skip")([x, skips[mirrored]])
        x = _activate_and_normalize(x, options, name)
    x = layers.Conv2D(3, 1, name="to_colors")(x)
    # In float32; bfloat16 would round the input to eight bits of mantissa.
    x = layers.Add(dtype="float32", name="add_input")([x, images])
    restored = layers.Activation(options.output, dtype="float32", name="restored")(x)
    network = keras.Model(images, restored, name="rednet30")
    return Generator(network, "unit" if options.output == "elu" else "signed", multiple=1)
