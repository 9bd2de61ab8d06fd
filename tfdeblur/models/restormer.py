"""Restormer: a U-Net of transformer blocks whose attention is between channels."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers, ops
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import GeluGate, LayerNormalization, PixelShuffle, depthwise

_EXPANSION = 2.66


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `restormer`."""

    width: Annotated[int, Field(gt=0, multiple_of=2)] = 48
    """channels at full size, even; the heads divide those of their scale"""
    blocks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=2)] = (4, 6, 6, 8)
    """blocks at each scale, from full size down; the decoder has as many, except at the last"""
    heads: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=2)] = (1, 2, 4, 8)
    """heads of the attention at each scale"""
    refinement: Annotated[int, Field(ge=0)] = 4
    """further decoder blocks at full size"""

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.heads):
            raise ValueError(
                f"blocks and heads must have the same length; got {self.blocks}, {self.heads}"
            )
        for level, heads in enumerate(self.heads):
            if (self.width << level) % heads:
                raise ValueError(
                    f"heads: {heads} do not divide the {self.width << level} channels of scale "
                    f"{level + 1}"
                )


@keras.saving.register_keras_serializable(package="tfdeblur")
class PixelUnshuffle(keras.layers.Layer):
    """Halves the size by moving pixels to channels, in PyTorch's order.

    Output channel 4 c + 2 i + j is input channel c at row 2 h + i and column 2 w + j.

    Call arguments:
        images: Tensor [B, H, W, C], H and W even.

    Returns:
        A tensor [B, H / 2, W / 2, 4 C].
    """

    def call(self, images: Any) -> Any:
        """Separates the four pixels of each square."""
        _, height, width, channels = ops.shape(images)
        x = ops.reshape(images, (-1, height // 2, 2, width // 2, 2, channels))
        x = ops.transpose(x, (0, 1, 3, 5, 2, 4))
        return ops.reshape(x, (-1, height // 2, width // 2, 4 * channels))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns half the size with four times the channels."""
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else s // 2 for s in sizes), 4 * channels)


@keras.saving.register_keras_serializable(package="tfdeblur")
class ChannelAttention(keras.layers.Layer):
    """Attention between the channels of each head, over all pixels.

    Queries and keys are normalized over the pixels, so that a product is a cosine, which a learned
    temperature per head, initially 1, multiplies before the softmax.

    Args:
        heads: Positive number of heads; it divides the channels.

    Call arguments:
        features: Tensor [B, H, W, 3 C]: queries, keys and values.

    Returns:
        A tensor [B, H, W, C].

    Reference:
        Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration",
        CVPR 2022, equation 1.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        """Creates the temperatures, float32 [heads]."""
        self.temperature = self.add_weight(
            shape=(self.heads,), initializer="ones", name="temperature"
        )

    def call(self, features: Any) -> Any:
        """Returns the values mixed by the attention."""
        _, height, width, channels = ops.shape(features)
        x = ops.reshape(features, (-1, height * width, 3, self.heads, channels // 3 // self.heads))
        queries, keys, values = (x[:, :, part] for part in range(3))
        cosines = ops.einsum("bnhc,bnhd->bhcd", _normalized(queries), _normalized(keys))
        weights = ops.softmax(cosines * self.temperature[:, None, None])
        mixed = ops.einsum("bhcd,bnhd->bnhc", weights, values)
        return ops.reshape(mixed, (-1, height, width, channels // 3))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns the input's shape with a third of the channels."""
        return (*input_shape[:-1], input_shape[-1] // 3)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "heads": self.heads}


def _normalized(x: Any) -> Any:
    """Divides each channel of [B, pixels, heads, C] by its norm over the pixels."""
    squares = ops.sum(ops.square(x), axis=1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, 1e-24))


def _convolution(x: Any, channels: int, kernel: int, name: str) -> Any:
    return layers.Conv2D(channels, kernel, padding="same", use_bias=False, name=name)(x)


def _block(x: Any, heads: int, name: str) -> Any:
    """Attention between channels, then a gated feed-forward network, each plus its input."""
    channels = x.shape[-1]
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
    y = depthwise(_convolution(y, 3 * channels, 1, f"{name}_qkv"), f"{name}_qkv_filter")
    y = ChannelAttention(heads, dtype="float32", name=f"{name}_attention")(y)
    y = _convolution(y, channels, 1, f"{name}_project")
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
    y = _convolution(y, 2 * int(_EXPANSION * channels), 1, f"{name}_expand")
    y = GeluGate(name=f"{name}_gate")(depthwise(y, f"{name}_filter"))
    y = _convolution(y, channels, 1, f"{name}_reduce")
    return layers.Add(name=f"{name}_add2")([x, y])


def build(options: Options) -> Generator:
    """Builds the network.

    A 3x3 convolution to 48 channels; four scales of 4, 6, 6 and 8 blocks with 48, 96, 192 and 384
    channels, joined by a 3x3 convolution and a pixel unshuffle; a decoder of the three larger
    scales, joined by a 3x3 convolution and a pixel shuffle, whose output is concatenated with the
    encoder's and, except at full size, reduced by a 1x1 convolution; four further blocks of 96
    channels; and a 3x3 convolution to RGB, to which the input is added. A block is layer norm,
    queries, keys and values by a 1x1 and a depthwise 3x3 convolution, attention between the
    channels of each head, and a 1x1 convolution, plus the input; then layer norm, a 1x1
    convolution to 2 x 2.66 times the channels, a depthwise 3x3 convolution, a gate by GELU and a
    1x1 convolution, plus the input. No convolution has a bias.

    The attention is float32 whatever the precision, because it sums over all pixels.

    Args:
        options: Settings. The defaults have 26,126,644 parameters.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 2^(scales - 1), 8 with the defaults.
        The output is not bounded.

    Reference:
        Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration",
        CVPR 2022, section 3.
    """

    def blocks(x: Any, count: int, level: int, name: str) -> Any:
        for index in range(1, count + 1):
            x = _block(x, options.heads[level], f"{name}_block{index}")
        return x

    images = keras.Input((None, None, 3), name="blurred")
    x = _convolution(images, options.width, 3, "stem")
    encoded: list[Any] = []
    for level, count in enumerate(options.blocks):
        if level:
            x = _convolution(x, (options.width << level) // 4, 3, f"down{level}")
            x = PixelUnshuffle(name=f"down{level}_unshuffle")(x)
        x = blocks(x, count, level, f"encoder{level}")
        encoded.append(x)
    for level in reversed(range(len(options.blocks) - 1)):
        channels = options.width << level
        x = _convolution(x, 4 * channels, 3, f"up{level}")
        x = PixelShuffle(name=f"up{level}_shuffle")(x)
        x = layers.Concatenate(name=f"up{level}_join")([x, encoded[level]])
        if level:
            x = _convolution(x, channels, 1, f"join{level}")
        x = blocks(x, options.blocks[level], level, f"decoder{level}")
    x = blocks(x, options.refinement, 0, "refinement")
    last = layers.Conv2D(3, 3, padding="same", use_bias=False, dtype="float32", name="correction")
    restored = layers.Add(dtype="float32", name="restored")([last(x), images])
    network = keras.Model(images, restored, name="restormer")
    return Generator(network, "unit", multiple=2 ** (len(options.blocks) - 1))
