"""DeepDeblur: residual networks at three scales of a Gaussian pyramid, from coarse to fine."""

import dataclasses
import math
from typing import Annotated, Any

import keras
from keras import layers, ops
from pydantic import Field

from tfdeblur.models.blocks import convolve
from tfdeblur.models.generator import Generator
from tfdeblur.models.layers import PixelShuffle

# A Gaussian of two thirds of a pixel cut after four deviations, as in scikit-image.
_SIGMA, _RADIUS = 2 / 3, 3
# The size is halved by 2x2 averages, so the Gaussian is averaged with a shifted copy.
_GAUSSIAN = [math.exp(-0.5 * (place / _SIGMA) ** 2) for place in range(-_RADIUS, _RADIUS + 1)]
_TAPS = [
    (first + second) / (2 * sum(_GAUSSIAN))
    for first, second in zip([*_GAUSSIAN, 0.0], [0.0, *_GAUSSIAN], strict=True)
]
_CENTER = 0.5  # of the images' range, subtracted from the images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of `deepdeblur`."""

    scales: Annotated[int, Field(gt=0)] = 3
    """number of scales"""
    blocks: Annotated[int, Field(gt=0)] = 19
    """residual blocks per scale"""
    width: Annotated[int, Field(gt=0)] = 64
    """channels of every hidden convolution"""


@keras.saving.register_keras_serializable(package="tfdeblur")
class GaussianHalving(keras.layers.Layer):
    """Halves images after a Gaussian filter, as `skimage.transform.pyramid_reduce` does.

    Call arguments:
        images: Tensor [B, H, W, C], H and W even and at least 4.

    Returns:
        A tensor [B, H / 2, W / 2, C].
    """

    def call(self, images: Any) -> Any:
        """Filters rows, then columns, with borders that repeat the border pixel."""
        x = images
        for axis in (1, 2):
            size = ops.shape(x)[axis]

            def along(axis: int, start: Any, stop: Any, step: int = 1) -> tuple[Any, ...]:
                return (*[slice(None)] * axis, slice(start, stop, step))

            before = [x[along(axis, i, i + 1)] for i in reversed(range(_RADIUS))]
            after = [x[along(axis, size - 1 - i, size - i)] for i in range(_RADIUS)]
            padded = ops.concatenate([*before, x, *after], axis=axis)
            x = sum(
                tap * padded[along(axis, start, start + size - 1, 2)]
                for start, tap in enumerate(_TAPS)
            )
        return x

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns half the size."""
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else s // 2 for s in sizes), channels)


def build(options: Options) -> Generator:
    """Builds the network.

    The images form a Gaussian pyramid, less 0.5. At each scale, starting with the smallest: a 5x5
    convolution to 64 channels; 19 blocks of 5x5 convolution, ReLU and 5x5 convolution, plus the
    block's input, with nothing after the sum; and a 5x5 convolution to RGB. That output is
    enlarged by a 5x5 convolution to 12 channels and a pixel shuffle, and concatenated with the
    input of the next scale. There is no normalization and no global skip.

    Args:
        options: Settings. The defaults have 11,721,321 parameters.

    Returns:
        A generator in [0, 1] with one output per scale, finest first (a single output with
        `scales=1`), for sizes that are multiples of 2^scales. The outputs are not bounded.

    Reference:
        Nah et al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring",
        CVPR 2017, section 3; the upsampling as in the authors' PyTorch code.
    """
    images = keras.Input((None, None, 3), name="blurred")
    pyramid = [images]
    for scale in range(1, options.scales):
        pyramid.append(GaussianHalving(dtype="float32", name=f"blurred{scale}")(pyramid[-1]))

    outputs: list[Any] = []
    coarser = None
    for scale in reversed(range(options.scales)):
        x = pyramid[scale] - _CENTER
        if coarser is not None:
            up = convolve(coarser, 12, 5, name=f"scale{scale}_up")
            up = PixelShuffle(name=f"scale{scale}_shuffle")(up)
            x = layers.Concatenate(name=f"scale{scale}_join")([x, up])
        x = convolve(x, options.width, 5, name=f"scale{scale}_stem")
        for index in range(1, options.blocks + 1):
            name, shortcut = f"scale{scale}_block{index}", x
            x = convolve(x, options.width, 5, activation="relu", name=f"{name}_conv1")
            x = convolve(x, options.width, 5, name=f"{name}_conv2")
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        coarser = convolve(x, 3, 5, dtype="float32", name=f"scale{scale}_last")
        outputs.insert(0, coarser + _CENTER)
    network = keras.Model(images, outputs if len(outputs) > 1 else outputs[0], name="deepdeblur")
    return Generator(network, "unit", multiple=2**options.scales)
