"""FFTformer: a U-Net of transformer blocks that work on the spectra of 8x8 patches."""

import dataclasses
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers, ops
from pydantic import Field

from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import GeluGate, LayerNormalization, depthwise

PATCH = 8
"""Side of the patches in pixels."""
_PIXELS = PATCH**2
_HALF = (PATCH, PATCH // 2 + 1)  # the spectrum of real values is symmetric
_FREQUENCIES = _HALF[0] * _HALF[1]


def _matrices() -> tuple[np.ndarray, np.ndarray]:
    """Returns the matrices of the real FFT of a patch and of its inverse, from unit vectors."""
    spectra = np.fft.rfft2(np.eye(_PIXELS).reshape(-1, PATCH, PATCH)).reshape(_PIXELS, -1)
    forward = np.concatenate([spectra.real, spectra.imag], axis=1).T
    units = np.eye(_FREQUENCIES).reshape(-1, *_HALF)
    patches = np.concatenate([np.fft.irfft2(unit, (PATCH, PATCH)) for unit in (units, 1j * units)])
    return forward.astype(np.float32), patches.reshape(-1, _PIXELS).T.astype(np.float32)


_FORWARD, _INVERSE = _matrices()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `fftformer`."""

    width: Annotated[int, Field(gt=0)] = 48
    """channels at full size"""
    blocks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (6, 6, 12)
    """blocks at each scale from full size down, in the encoder and again in the decoder"""
    refinement: Annotated[int, Field(ge=0)] = 4
    """further decoder blocks at full size"""


def patch_spectra(features: Any) -> tuple[Any, Any]:
    """Returns the real and the imaginary part of the FFT of each patch and channel.

    A product with a constant matrix, which compiles on every device; TPUs have no fast FFT of
    small patches.

    Args:
        features: float32 [B, H, W, C], H and W multiples of 8.

    Returns:
        Two tensors [B H W / 64, 40, C]: the frequencies of `numpy.fft.rfft2`, [8, 5], row by row.
    """
    _, _, width, channels = ops.shape(features)
    x = ops.reshape(features, (-1, PATCH, width // PATCH, PATCH * channels))
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, _PIXELS, channels))
    real, imaginary = ops.split(ops.matmul(_FORWARD, x), 2, axis=1)
    return real, imaginary


def from_spectra(real: Any, imaginary: Any, like: Any) -> Any:
    """Returns features from the spectra of their patches, as `numpy.fft.irfft2` does.

    Args:
        real: Tensor [N, 40, C].
        imaginary: Tensor of the same shape.
        like: Tensor [B, H, W, any].

    Returns:
        A tensor [B, H, W, C].
    """
    _, height, width, _ = ops.shape(like)
    channels = real.shape[-1]
    x = ops.matmul(_INVERSE, ops.concatenate([real, imaginary], axis=1))
    x = ops.reshape(x, (-1, width // PATCH, PATCH, PATCH * channels))
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, height, width, channels))


@keras.saving.register_keras_serializable(package="tfdeblur")
class FrequencyScaling(keras.layers.Layer):
    """Multiplies the frequencies of each 8x8 patch by learned factors per channel, initially 1.

    Call arguments:
        features: Tensor [B, H, W, C].

    Returns:
        A tensor of the same shape.
    """

    def build(self, input_shape: Any) -> None:
        """Creates the factors, float32 [40, C], in the order of `patch_spectra`."""
        shape = (_FREQUENCIES, input_shape[-1])
        self.scale = self.add_weight(shape=shape, initializer="ones", name="scale")

    def call(self, features: Any) -> Any:
        """Returns the features with other spectra."""
        real, imaginary = patch_spectra(features)
        return from_spectra(real * self.scale, imaginary * self.scale, features)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="tfdeblur")
class PatchConvolution(keras.layers.Layer):
    """Convolves each 8x8 patch circularly with the same patch of other features.

    This is the product of the spectra, and the paper's replacement of the products of attention.

    Call arguments:
        queries: Tensor [B, H, W, C].
        keys: Tensor of the same shape.

    Returns:
        A tensor of the same shape.
    """

    def call(self, queries: Any, keys: Any) -> Any:
        """Returns the product of the spectra, as features."""
        a, b = patch_spectra(queries)
        c, d = patch_spectra(keys)
        return from_spectra(a * c - b * d, a * d + b * c, queries)

    def compute_output_shape(self, queries_shape: Any, keys_shape: Any) -> Any:
        """Returns the shape of the queries."""
        return queries_shape


@keras.saving.register_keras_serializable(package="tfdeblur")
class BilinearUpsampling(keras.layers.Layer):
    """Doubles the size by linear interpolation, as PyTorch does without aligned corners.

    It is composed of slices: the gradient of TensorFlow's resizing op does not compile for TPUs.

    Call arguments:
        images: Tensor [B, H, W, C].

    Returns:
        A tensor [B, 2 H, 2 W, C].
    """

    def call(self, images: Any) -> Any:
        """Interpolates rows, then columns."""
        _, height, width, channels = ops.shape(images)
        x = images
        before = ops.concatenate([x[:, :1], x[:, :-1]], axis=1)
        after = ops.concatenate([x[:, 1:], x[:, -1:]], axis=1)
        x = ops.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=2)
        x = ops.reshape(x, (-1, 2 * height, width, channels))
        before = ops.concatenate([x[:, :, :1], x[:, :, :-1]], axis=2)
        after = ops.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2)
        x = ops.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=3)
        return ops.reshape(x, (-1, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns the input's shape with twice the height and width."""
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else 2 * s for s in sizes), channels)


def _convolution(x: Any, channels: int, kernel: int, name: str, *, bias: bool = False) -> Any:
    return layers.Conv2D(channels, kernel, padding="same", use_bias=bias, name=name)(x)


def _attend(x: Any, channels: int, name: str) -> Any:
    """The frequency domain-based self-attention solver, plus its input."""
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
    y = depthwise(_convolution(y, 6 * channels, 1, f"{name}_hidden"), f"{name}_hidden_filter")
    queries, keys, values = (y[..., i * 2 * channels : (i + 1) * 2 * channels] for i in range(3))
    y = PatchConvolution(dtype="float32", name=f"{name}_product")(queries, keys)
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_product_norm")(y)
    y = layers.Multiply(name=f"{name}_attend")([values, y])
    y = _convolution(y, channels, 1, f"{name}_attention")
    return layers.Add(name=f"{name}_add1")([x, y])


def _feed_forward(x: Any, channels: int, hidden: int, name: str) -> Any:
    """The discriminative frequency domain-based feed-forward network, plus its input."""
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
    y = _convolution(y, 2 * hidden, 1, f"{name}_expand")
    y = FrequencyScaling(dtype="float32", name=f"{name}_frequencies")(y)
    y = GeluGate(name=f"{name}_gate")(depthwise(y, f"{name}_filter"))
    y = _convolution(y, channels, 1, f"{name}_reduce")
    return layers.Add(name=f"{name}_add2")([x, y])


def build(options: Options) -> Generator:
    """Builds the network.

    A 3x3 convolution to 48 channels; three scales of an encoder with 6, 6 and 12 blocks and 48, 96
    and 192 channels, joined by bilinear halving and a 3x3 convolution; a decoder of the same
    scales, joined by bilinear doubling and a 3x3 convolution; four further blocks; and a 3x3
    convolution to RGB, to which the input is added. An encoder block is layer norm, a 1x1
    convolution to six times the channels, learned factors for the frequencies of each 8x8 patch,
    a depthwise 3x3 convolution, a gate by GELU, and a 1x1 convolution, plus the input. A decoder
    block has attention before it: queries, keys and values of twice the channels from a 1x1 and a
    depthwise 3x3 convolution; the inverse FFT of the product of the spectra of queries and keys,
    patch by patch; its layer norm times the values; and a 1x1 convolution, plus the input.
    Features of the decoder and of the encoder are joined by concatenation, a 1x1 convolution, a
    block without attention whose hidden part has 2.66 times the channels, a 1x1 convolution, and
    the sum of both halves. Only the 1x1 convolutions of these joints have biases.

    Spectra are float32 whatever the precision. Patches do not overlap, so a shift of the image by
    less than 8 pixels changes the result slightly; tiles begin at multiples of the network's.

    Args:
        options: Settings. The defaults have 16,542,042 parameters.

    Returns:
        A generator in [0, 1] for sizes that are multiples of 8 * 2^(scales - 1), 32 with the
        defaults. The output is not bounded.

    Reference:
        Kong et al., "Efficient Frequency Domain-based Transformers for High-Quality Image
        Deblurring", CVPR 2023, section 3.
    """

    def blocks(x: Any, count: int, level: int, name: str, *, attention: bool) -> Any:
        channels = options.width << level
        for index in range(1, count + 1):
            block = f"{name}_block{index}"
            x = _attend(x, channels, block) if attention else x
            x = _feed_forward(x, channels, 3 * channels, block)
        return x

    def fuse(x: Any, skip: Any, level: int) -> Any:
        name, channels = f"fusion{level}", options.width << (level + 1)
        x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = _convolution(x, channels, 1, f"{name}_conv1", bias=True)
        x = _feed_forward(x, channels, int(2.66 * channels), f"{name}_block1")
        x = _convolution(x, channels, 1, f"{name}_conv2", bias=True)
        halves = [x[..., : channels // 2], x[..., channels // 2 :]]
        return layers.Add(name=f"{name}_add")(halves)

    deepest = len(options.blocks) - 1
    images = keras.Input((None, None, 3), name="blurred")
    x = _convolution(images, options.width, 3, "stem")
    encoded = []
    for level, count in enumerate(options.blocks):
        if level:
            x = layers.AveragePooling2D(2, name=f"down{level}_halve")(x)
            x = _convolution(x, options.width << level, 3, f"down{level}")
        x = blocks(x, count, level, f"encoder{level}", attention=False)
        encoded.append(x)
    for level, count in reversed(list(enumerate(options.blocks))):
        if level < deepest:
            x = BilinearUpsampling(name=f"up{level}_double")(x)
            x = _convolution(x, options.width << level, 3, f"up{level}")
            x = fuse(x, encoded[level], level)
        x = blocks(x, count, level, f"decoder{level}", attention=True)
    x = blocks(x, options.refinement, 0, "refinement", attention=True)
    last = layers.Conv2D(3, 3, padding="same", use_bias=False, dtype="float32", name="correction")
    restored = layers.Add(dtype="float32", name="restored")([last(x), images])
    network = keras.Model(images, restored, name="fftformer")
    return Generator(network, "unit", multiple=PATCH << deepest)
