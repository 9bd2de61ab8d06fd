"""MIMO-UNet: a U-Net with inputs and outputs at three scales."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from tfdeblur.models.blocks import convolve, halve
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import Dropout
from tfdeblur.ops.imaging import ValueRange


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `mimo_unet`."""

    mise: bool = True
    """multi-input encoder: also takes the image at H/2 and H/4"""
    mosd: bool = True
    """multi-output decoder: also has outputs at H/4 and H/2, for a loss"""
    aff: bool = True
    """asymmetric feature fusion: each skip combines features of all scales"""
    blocks: Annotated[int, Field(gt=0)] = 8
    """residual blocks in each of the six stages"""
    width: Annotated[int, Field(ge=4)] = 32
    """channels at full size"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """dropout rate of whole channels of the skips"""
    value_range: ValueRange = "unit"
    """range of the images: unit [0, 1], as in the paper; signed [-1, 1], in which weights of losses
    mean the same as for networks that end in tanh"""
    plus: bool = False
    """MIMO-UNet+: 20 blocks and a dropout of 0.1, instead of those options"""


def _convolution(x: Any, channels: int, kernel: int, name: str, *, relu: bool = True) -> Any:
    return convolve(x, channels, kernel, activation="relu" if relu else None, name=f"{name}_conv")


def _blocks(x: Any, channels: int, count: int, name: str) -> Any:
    for index in range(1, count + 1):
        block, shortcut = f"{name}_block{index}", x
        x = _convolution(x, channels, 3, f"{block}_1")
        x = _convolution(x, channels, 3, f"{block}_2", relu=False)
        x = layers.Add(name=f"{block}_add")([x, shortcut])
    return x


def _shallow_features(image: Any, channels: int, name: str) -> Any:
    """The shallow convolutional module: features of a smaller image, concatenated with it."""
    x = _convolution(image, channels // 4, 3, f"{name}_1")
    x = _convolution(x, channels // 2, 1, f"{name}_2")
    x = _convolution(x, channels // 2, 3, f"{name}_3")
    x = _convolution(x, channels - 3, 1, f"{name}_4")
    x = layers.Concatenate(name=f"{name}_join")([image, x])
    return _convolution(x, channels, 1, f"{name}_5", relu=False)


def _attend(x: Any, other: Any, channels: int, name: str) -> Any:
    """The feature attention module: x plus a convolution of the product."""
    product = layers.Multiply(name=f"{name}_product")([x, other])
    merged = _convolution(product, channels, 3, name, relu=False)
    return layers.Add(name=f"{name}_add")([x, merged])


def _fuse(features: list[Any], channels: int, name: str) -> Any:
    """The asymmetric feature fusion module, for features of one size."""
    x = layers.Concatenate(name=f"{name}_join")(features)
    x = _convolution(x, channels, 1, f"{name}_1")
    return _convolution(x, channels, 3, f"{name}_2", relu=False)


def build(options: Options) -> Generator:
    """Builds the network.

    An encoder and a decoder at three scales with 32, 64 and 128 channels and eight residual blocks
    (3x3 convolution, ReLU, 3x3 convolution, plus input) each; 3x3 convolutions of stride 2 in the
    encoder, 4x4 transposed ones in the decoder, skips joined by concatenation and a 1x1
    convolution, and the input added at the end. Three parts are optional:

    * `mise` feeds the image at H/2 and H/4, through four shallow convolutions, into the encoder.
    * `mosd` adds an output at H/4 and H/2, a convolution plus the image at that size.
    * `aff` builds each skip from the encoder's features of all scales, not only of its own.

    Downsampling keeps every second pixel, (2i, 2j), and upsampling repeats pixels, as PyTorch's
    nearest interpolation does in the authors' code; strided convolutions are padded by one pixel on
    every side, as there. So weights of that code only need another layout. (Resizing ops with
    half-pixel centers, such as TensorFlow's, keep the odd pixels, and their gradient does not
    compile for TPUs.)

    Args:
        options: Settings. The defaults have 6,807,171 parameters; with `plus` 16,107,651.

    Returns:
        A generator in `value_range` for sizes that are multiples of 4: outputs at H, H/2 and H/4,
        or one output without `mosd`. The outputs are not bounded.

    Reference:
        Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021,
        section 3 and table 3.
    """
    blocks = 20 if options.plus else options.blocks
    dropout = 0.1 if options.plus else options.dropout
    widths = [options.width * 2**level for level in range(3)]

    images = keras.Input((None, None, 3), name="blurred")
    pyramid = [images]
    for _ in range(2):
        pyramid.append(pyramid[-1][:, ::2, ::2])

    encoded: list[Any] = []
    x = _convolution(images, widths[0], 3, "stem")
    for level, channels in enumerate(widths):
        if level:
            x = halve(x, channels, activation="relu", name=f"down{level}_conv")
            if options.mise:
                shallow = _shallow_features(pyramid[level], channels, f"shallow{level}")
                x = _attend(x, shallow, channels, f"attention{level}")
        x = _blocks(x, channels, blocks, f"encoder{level}")
        encoded.append(x)

    skips = encoded[:2]
    if options.aff:
        first, second, third = encoded

        def enlarge(x: Any, factor: int, name: str) -> Any:
            return layers.UpSampling2D(factor, name=name)(x)

        skips = [
            _fuse(
                [first, enlarge(second, 2, "fusion0_up1"), enlarge(third, 4, "fusion0_up2")],
                widths[0],
                "fusion0",
            ),
            _fuse(
                [first[:, ::2, ::2], second, enlarge(third, 2, "fusion1_up2")],
                widths[1],
                "fusion1",
            ),
        ]
    if dropout:
        skips = [
            Dropout(dropout, (None, 1, 1, None), name=f"skip{level}_dropout")(skip)
            for level, skip in enumerate(skips)
        ]

    outputs: list[Any] = []
    for level in (2, 1, 0):
        if level < 2:
            up = layers.Conv2DTranspose(
                widths[level],
                4,
                strides=2,
                padding="same",
                activation="relu",
                name=f"up{level}_conv",
            )
            x = layers.Concatenate(name=f"join{level}")([up(x), skips[level]])
            x = _convolution(x, widths[level], 1, f"join{level}")
        x = _blocks(x, widths[level], blocks, f"decoder{level}")
        if level == 0 or options.mosd:
            last = layers.Conv2D(
                3, 3, padding="same", dtype="float32", name=f"correction{level}_conv"
            )
            add = layers.Add(dtype="float32", name=f"restored{level}")
            outputs.insert(0, add([last(x), pyramid[level]]))
    network = keras.Model(images, outputs if options.mosd else outputs[0], name="mimo_unet")
    return Generator(network, options.value_range, multiple=4)
