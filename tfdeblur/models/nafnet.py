"""NAFNet: a U-Net of blocks without activation functions."""

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers, ops
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import LayerNormalization, MeanPooling, PixelShuffle, WindowScaling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `nafnet`."""

    width: Annotated[int, Field(gt=0)] = 32
    """channels at full size; paper: 32, 64"""
    encoder: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 1, 1, 28)
    """encoder blocks at each scale, from full size down"""
    middle: Annotated[int, Field(ge=0)] = 1
    """blocks at the smallest scale"""
    decoder: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 1, 1, 1)
    """decoder blocks at each scale, from the smallest up"""
    pool_window: Annotated[int | None, Field(gt=0)] = None
    """side in image pixels of the window that attention averages over, for full images after
    training on patches; none: the full image, as in training"""

    def __post_init__(self) -> None:
        if len(self.encoder) != len(self.decoder):
            raise ValueError(
                f"encoder and decoder must have the same length; got {self.encoder}, {self.decoder}"
            )
        if min(*self.encoder, *self.decoder) < 0:
            raise ValueError("encoder and decoder must not contain negative numbers")


@keras.saving.register_keras_serializable(package="tfdeblur")
class SimpleGate(keras.layers.Layer):
    """Multiplies the first half of the channels by the second: [B, H, W, 2 C] to [B, H, W, C]."""

    def call(self, features: Any, training: bool | None = None) -> Any:
        """Returns the product of the two halves."""
        if training:
            first, second = ops.split(features, 2, axis=-1)
            return first * second
        # One pass, where a split copies both halves first; but its gradient is slow.
        *shape, channels = ops.shape(features)
        return ops.prod(ops.reshape(features, (-1, *shape[1:], 2, channels // 2)), axis=-2)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns the input's shape with half the channels."""
        return (*input_shape[:-1], input_shape[-1] // 2)


@keras.saving.register_keras_serializable(package="tfdeblur")
class ScaledAdd(keras.layers.Layer):
    """Adds a correction times one learned factor per channel, initially 0.

    Call arguments:
        features: Tensor [B, H, W, C].
        correction: Tensor of the same shape.

    Returns:
        A tensor of the same shape.
    """

    def build(self, features_shape: Any, correction_shape: Any) -> None:
        """Creates the factors, float32 [C]."""
        self.scale = self.add_weight(shape=(features_shape[-1],), initializer="zeros", name="scale")

    def call(self, features: Any, correction: Any) -> Any:
        """Returns the sum."""
        return features + correction * self.scale

    def compute_output_shape(self, features_shape: Any, correction_shape: Any) -> Any:
        """Returns the shape of the features."""
        return features_shape


def _block(x: Any, channels: int, window: tuple[int, int] | None, name: str) -> Any:
    """Spatial mixing with channel attention, then channel mixing, each scaled and added."""
    y = LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = layers.Conv2D(2 * channels, 1, name=f"{name}_conv1")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_conv2")(y)
    y = SimpleGate(name=f"{name}_gate1")(y)
    attention = MeanPooling(window, name=f"{name}_pool")(y)
    attention = layers.Conv2D(channels, 1, name=f"{name}_attention")(attention)
    y = WindowScaling(window, name=f"{name}_attend")(y, attention)
    y = layers.Conv2D(channels, 1, name=f"{name}_conv3")(y)
    x = ScaledAdd(name=f"{name}_beta")(x, y)
    y = LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Conv2D(2 * channels, 1, name=f"{name}_conv4")(y)
    y = SimpleGate(name=f"{name}_gate2")(y)
    y = layers.Conv2D(channels, 1, name=f"{name}_conv5")(y)
    return ScaledAdd(name=f"{name}_gamma")(x, y)


def build(options: Options) -> Generator:
    """Builds the network.

    A 3x3 convolution to 32 channels; at each of four scales some blocks and a 2x2 convolution of
    stride 2 that doubles the channels; a middle block; at each scale of the decoder a 1x1
    convolution and a pixel shuffle, plus the encoder features of the same size, and some blocks; a
    3x3 convolution to RGB, to which the input is added. A block is layer norm over channels,
    1x1 convolution to twice the channels, depthwise 3x3 convolution, simple gate, channel
    attention by one 1x1 convolution of the means, 1x1 convolution, and the sum with the input
    times beta; then layer norm, 1x1 convolution to twice the channels, simple gate, 1x1
    convolution, and the sum times gamma. Beta and gamma are initially zero, so the blocks of an
    untrained network are identities.

    `pool_window` does not change the weights: a network trained without it can be used with it, as
    the test-time local converter, with 1.5 times the side of the training patches in the paper.

    Args:
        options: Settings. The defaults have 17,111,907 parameters; with width 64 67,888,835.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 2^(number of scales), 16 with the
        defaults. The output is not bounded.

    Reference:
        Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, sections 3 and 4; Chu et
        al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV
        2022, for the window.
    """

    def blocks(x: Any, count: int, level: int, name: str) -> Any:
        side = options.pool_window and max(options.pool_window >> level, 1)
        window = (side, side) if side else None
        for index in range(1, count + 1):
            x = _block(x, options.width << level, window, f"{name}_block{index}")
        return x

    images = keras.Input((None, None, 3), name="blurred")
    x = layers.Conv2D(options.width, 3, padding="same", name="intro")(images)
    skips = []
    for level, count in enumerate(options.encoder):
        x = blocks(x, count, level, f"encoder{level}")
        skips.append(x)
        x = layers.Conv2D(options.width << (level + 1), 2, strides=2, name=f"down{level}")(x)
    deepest = len(options.encoder)
    x = blocks(x, options.middle, deepest, "middle")
    for level, count in zip(reversed(range(deepest)), options.decoder, strict=True):
        x = layers.Conv2D(options.width << (level + 2), 1, use_bias=False, name=f"up{level}")(x)
        x = PixelShuffle(name=f"up{level}_shuffle")(x)
        x = layers.Add(name=f"up{level}_skip")([x, skips[level]])
        x = blocks(x, count, level, f"decoder{level}")
    x = layers.Conv2D(3, 3, padding="same", dtype="float32", name="ending")(x)
    restored = layers.Add(dtype="float32", name="restored")([x, images])
    network = keras.Model(images, restored, name="nafnet")
    return Generator(network, "unit", multiple=2**deepest)
