"""UNet16: a small U-Net without normalization, fast to train on a CPU."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.generator import Generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `unet16`."""

    width: Annotated[int, Field(gt=0)] = 16
    """channels at full size, doubled at each lower scale"""
    residual: bool = False
    """add the input at the end, unlike the paper: the network starts near its input and learns
    faster"""


def _two_convolutions(x: Any, channels: int, name: str) -> Any:
    for index in (1, 2):
        x = layers.Conv2D(
            channels, 3, padding="same", activation="relu", name=f"{name}_conv{index}"
        )(x)
    return x


def build(options: Options) -> Generator:
    """Builds the network.

    Four scales of two 3x3 convolutions with ReLU, 16, 32, 64 and 128 channels, and 2x2 max pooling
    between them; in the decoder a 2x2 transposed convolution of stride 2, the concatenated encoder
    features of the same scale, and two convolutions; at the end a linear 1x1 convolution to RGB.

    Args:
        options: Settings. The defaults have 482,067 parameters.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 8.

    Reference:
        Orlandi and Pinardi, autoencoders and WGANs for image deblurring on TPUs: "UNet16", after
        Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        MICCAI 2015.
    """
    images = x = keras.Input((None, None, 3), name="blurred")
    skips = []
    for level in range(4):
        if level:
            x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
        x = _two_convolutions(x, options.width * 2**level, f"down{level}")
        skips.append(x)
    for level in (2, 1, 0):
        channels = options.width * 2**level
        x = layers.Conv2DTranspose(channels, 2, strides=2, name=f"up{level}_transposed")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x])
        x = _two_convolutions(x, channels, f"up{level}")
    if options.residual:
        correction = layers.Conv2D(3, 1, dtype="float32", name="correction")(x)
        restored = layers.Add(dtype="float32", name="restored")([images, correction])
    else:
        restored = layers.Conv2D(3, 1, dtype="float32", name="restored")(x)
    return Generator(keras.Model(images, restored, name="unet16"), "unit", multiple=8)
