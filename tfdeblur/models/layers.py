"""Keras layers that several models share, for all backends of Keras."""

import functools
import importlib
import importlib.util
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

import keras
from keras import ops
from pydantic import Field

from tfdeblur.ops import imaging

Synchronized = Annotated[
    bool, Field(description="compute the statistics of batch norm over all replicas")
]
"""Type of the option `synchronized` of models with `BatchNormalization`."""


@keras.saving.register_keras_serializable(package="tfdeblur")
class PadToMultiple(keras.layers.Layer):
    """Pads the bottom and right by reflection until both sizes are multiples of a number.

    Args:
        multiple: Positive number of pixels.
        least: Pixels that each side has at least.

    Call arguments:
        images: Tensor [B, H, W, C]; H and W may be unknown.

    Returns:
        A tensor [B, H', W', C]; see `tfdeblur.ops.imaging.pad_to_multiple`.
    """

    def __init__(self, multiple: int, least: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple
        self.least = least

    def call(self, images: Any) -> Any:
        return imaging.pad_to_multiple(images, self.multiple, self.least)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        # Under JAX, Keras would find out by padding two small images, to equal sizes.
        batch, *sizes, channels = input_shape
        padded = (s and imaging.padded_size(s, self.multiple, self.least) for s in sizes)
        return (batch, *padded, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple, "least": self.least}


@keras.saving.register_keras_serializable(package="tfdeblur")
class CropTo(keras.layers.Layer):
    """Crops images to the height and width of others, keeping the top left corner.

    Call arguments:
        images: Tensor [B, H, W, C].
        like: Tensor [B, h, w, any], with h <= H and w <= W.

    Returns:
        A tensor [B, h, w, C].
    """

    def call(self, images: Any, like: Any) -> Any:
        _, height, width, _ = ops.shape(like)
        return images[:, :height, :width]


@keras.saving.register_keras_serializable(package="tfdeblur")
class ReflectionPadding(keras.layers.Layer):
    """Pads all four borders by reflection, without repeating the border pixel.

    Args:
        size: Non-negative number of pixels on each side, or (before, after) along both axes.

    Call arguments:
        images: Tensor [B, H, W, C]; H and W may be unknown and may be smaller than the padding.

    Returns:
        A tensor [B, H + before + after, W + before + after, C], equal to
        `numpy.pad(mode="reflect")`.
    """

    def __init__(self, size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def _border(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def call(self, images: Any) -> Any:
        height, width = ops.shape(images)[1:3]
        border = before, after = self._border
        if isinstance(height, int) and isinstance(width, int) and min(height, width) > max(border):
            return ops.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
        # `ops.pad` rejects images that are not larger than the padding.
        for axis, size in ((1, height), (2, width)):
            places = imaging.reflected(-before, size + after, size)
            images = ops.take(images, places, axis=axis)
        return images

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        return (batch, *(s and s + sum(self._border) for s in sizes), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="tfdeblur")
class PixelShuffle(keras.layers.Layer):
    """Doubles the size by moving channels to pixels (depth to space).

    Channels are ordered as in TensorFlow's `depth_to_space`: output channel c at row 2h + i and
    column 2w + j is input channel (2 i + j) C + c. PyTorch's PixelShuffle reads channel
    4 c + 2 i + j there, so weights from PyTorch are permuted once, by
    `kernel.reshape(..., C, 4).swapaxes(-1, -2).reshape(..., 4 * C)`.

    Call arguments:
        images: Tensor [B, H, W, 4 C].

    Returns:
        A tensor [B, 2 H, 2 W, C].
    """

    def call(self, images: Any) -> Any:
        _, height, width, channels = ops.shape(images)
        # A single transposition of contiguous runs separates the two output rows of an input row.
        x = ops.reshape(images, (-1, width, 2, channels // 2))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, 2 * height, 2 * width, channels // 4))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        return (batch, *(s if s is None else 2 * s for s in sizes), channels // 4)


@keras.saving.register_keras_serializable(package="tfdeblur")
class GeluGate(keras.layers.Layer):
    """Multiplies GELU of the first half of the channels by the second.

    Call arguments:
        features: Tensor [B, H, W, 2 C].

    Returns:
        A tensor [B, H, W, C].

    Reference:
        Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration",
        CVPR 2022, section 3.2.
    """

    def call(self, features: Any) -> Any:
        first, second = ops.split(features, 2, axis=-1)
        # TensorFlow's GELU has an op that ONNX has not.
        return 0.5 * first * (1.0 + ops.erf(first * math.sqrt(0.5))) * second

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], input_shape[-1] // 2)


@keras.saving.register_keras_serializable(package="tfdeblur")
class MeanPooling(keras.layers.Layer):
    """Mean over the image, or over every window inside it, in float32.

    The statistics of global pooling differ between training patches and full images. Windows about
    the size of the training patches (the test-time local converter) restore those of training
    without a change of weights. `WindowScaling` applies the window around each pixel.

    Args:
        window: None for one mean per image, or (height, width) in pixels of this layer's input.
            Sides larger than the image are reduced to it.

    Call arguments:
        features: Tensor [B, H, W, C].

    Returns:
        A tensor [B, 1, 1, C] without a window, else [B, H - height + 1, W - width + 1, C], the
        mean of the window that starts at each pixel.

    Reference:
        Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
        ECCV 2022, section 3.3.
    """

    def __init__(self, window: tuple[int, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = None if window is None else (int(window[0]), int(window[1]))

    def call(self, features: Any) -> Any:
        x = ops.cast(features, "float32")
        if self._is_global(x.shape):
            x = ops.mean(x, axis=(1, 2), keepdims=True)
        else:
            # One axis after the other: shorter sums have smaller rounding errors.
            for axis, side in zip((1, 2), self.window or (), strict=True):
                x = _window_means(x, axis, side)
        return ops.cast(x, self.compute_dtype)

    def _is_global(self, shape: Any) -> bool:
        if self.window is None:
            return True
        sides = zip(shape[1:3], self.window, strict=True)
        return all(side is not None and side <= size for side, size in sides)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        places = [
            size if size is None else max(size - side, 0) + 1
            for size, side in zip(sizes, self.window or sizes, strict=True)
        ]
        return (batch, *(places if self.window else (1, 1)), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}


def _window_means(x: Any, axis: int, side: int) -> Any:
    """Returns the means of all windows of `side` entries along one axis."""
    _, height, width, channels = ops.shape(x)
    size = (height, width)[axis - 1]
    if isinstance(size, int) and size <= side:
        return ops.mean(x, axis=axis, keepdims=True)
    side = side if isinstance(size, int) else ops.minimum(side, size)
    places = size - side + 1
    steps = ops.arange(size, dtype="int32") - ops.arange(places, dtype="int32")[:, None]
    # A product with a 0/1 matrix: cumulative sums do fewer additions, but took two to four times as
    # long on tiles of 512 pixels, and lose precision.
    inside = ops.cast(ops.logical_and(steps >= 0, steps < side), "float32")
    if axis == 1:
        sums = ops.matmul(inside, ops.reshape(x, (-1, height, width * channels)))
        sums = ops.reshape(sums, (-1, places, width, channels))
    else:
        sums = ops.matmul(inside, x)
    return sums / ops.cast(side, "float32")


@keras.saving.register_keras_serializable(package="tfdeblur")
class WindowScaling(keras.layers.Layer):
    """Multiplies each pixel by the factors of the pooling window around it.

    The window of a pixel starts (size - 1) // 2 above and left of it. Pixels near the border, whose
    windows would exceed the image, use the nearest window inside it. Layers between `MeanPooling`
    and this layer run once per window.

    Args:
        window: As for `MeanPooling`.

    Call arguments:
        features: Tensor [B, H, W, C].
        factors: Tensor [B, 1, 1, C] without a window, else with one entry per window.

    Returns:
        A tensor of the shape of the features.
    """

    def __init__(self, window: tuple[int, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = None if window is None else (int(window[0]), int(window[1]))

    def call(self, features: Any, factors: Any) -> Any:
        # Columns first, while there are fewer rows.
        for axis, side in zip((2, 1), reversed(self.window or ()), strict=False):
            if factors.shape[axis] != 1:
                size = ops.shape(features)[axis]
                side = ops.minimum(side, size)
                starts = ops.arange(size, dtype="int32") - (side - 1) // 2
                factors = ops.take(factors, ops.clip(starts, 0, size - side), axis=axis)
        return features * factors

    def compute_output_shape(self, features_shape: Any, factors_shape: Any) -> Any:
        return features_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}


def depthwise(x: Any, name: str, strides: int = 1, padding: str = "same") -> Any:
    """Filters each channel of [B, H, W, C] by its own 3x3 kernel, without bias.

    The kernel is initially uniform in [-1/3, 1/3], as in PyTorch. Keras's default divides by the
    number of channels as if all entered each output, which is far too small here.
    """
    kernel = keras.initializers.VarianceScaling(1 / 3, mode="fan_out", distribution="uniform")
    convolution = keras.layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=kernel,
        name=name,
    )
    return convolution(x)


@functools.cache
def _fused_kernels(backend: str) -> ModuleType | None:
    """Returns the module with kernels for a backend, or None if there is none."""
    name = f"tfdeblur.models.layers_{backend}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


@keras.saving.register_keras_serializable(package="tfdeblur")
class Dropout(keras.layers.Dropout):
    """Dropout whose masks differ between the replicas of TensorFlow.

    It is equivalent to `keras.layers.Dropout`, with the same arguments and state. In Keras's layer
    all replicas draw the same masks, because they share the state of the seed.

    Reference:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 2014.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drops elements in training, and scales the others up."""
        kernels = _fused_kernels(keras.backend.backend())
        if kernels is None or not training or self.rate == 0:
            return super().call(inputs, training=training)
        sizes = ops.shape(inputs)
        shape = [size if own is None else own for own, size in zip(self._kept, sizes, strict=True)]
        return kernels.dropout(inputs, self.rate, shape, self.seed_generator.next())

    @property
    def _kept(self) -> Sequence[int | None]:
        return self.noise_shape or (None, None, None, None)


@keras.saving.register_keras_serializable(package="tfdeblur")
class LayerNormalization(keras.layers.LayerNormalization):
    """Layer normalization over the last axis, which can be differentiated twice.

    It is equivalent to `keras.layers.LayerNormalization`, with the same weights and arguments,
    computed in at least float32. Under TensorFlow, Keras's layer takes its statistics from
    `tf.nn.moments`, which stops the gradient of the mean inside the variance: first derivatives
    are right, second ones, as in a gradient penalty, are not. Keras also multiplies the inverse
    deviation, one number per pixel, by the scale and by the mean first, which creates three
    tensors of full size.

    Reference:
        Ba et al., "Layer Normalization", 2016, equation 3.
    """

    def call(self, inputs: Any) -> Any:
        """Normalizes [..., C] by the mean and variance of its C channels."""
        normal = _normalized(inputs, -1, self.epsilon)
        return ops.cast(normal * self.gamma + self.beta, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfdeblur")
class GroupNormalization(keras.layers.GroupNormalization):
    """Group normalization of channels that are last, which can be differentiated twice.

    It is equivalent to `keras.layers.GroupNormalization`, with the same weights and arguments; see
    `LayerNormalization` for the second derivatives. With ``groups=-1`` it is instance
    normalization.

    Reference:
        Wu and He, "Group Normalization", ECCV 2018, equations 1 to 3.
    """

    def call(self, inputs: Any) -> Any:
        """Normalizes [B, H, W, C] by the mean and variance of each group of each image."""
        shape = ops.shape(inputs)
        groups = ops.reshape(inputs, (*shape[:-1], self.groups, shape[-1] // self.groups))
        normal = ops.reshape(_normalized(groups, (1, 2, 4), self.epsilon), shape)
        return ops.cast(normal * self.gamma + self.beta, self.compute_dtype)


def _normalized(inputs: Any, axes: int | tuple[int, ...], epsilon: float) -> Any:
    """Returns inputs of zero mean and unit variance over some axes, in at least float32."""
    x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    centered = x - ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=axes, keepdims=True)
    return centered * ops.rsqrt(variance + epsilon)


@keras.saving.register_keras_serializable(package="tfdeblur")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization, with the fused kernel of the backend in training if it has one.

    It is equivalent to `keras.layers.BatchNormalization`, with the same weights and arguments.
    Keras composes it of about twenty ops, each of which reads or writes the full tensor, in float32
    even if the layer computes in 16 bits; that took a third of a training step of `rednet30`. The
    fused kernel reads and writes 16 bits and computes in float32. Synchronized statistics,
    inference and other backends use Keras's code.

    Args:
        synchronized: Whether TensorFlow's replicas share their statistics. Under JAX, where Keras
            refuses the argument, they are always those of the global batch.
        **kwargs: Of `keras.layers.BatchNormalization`.

    Reference:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift", ICML 2015, algorithm 1.
    """

    def __init__(self, *, synchronized: bool = False, **kwargs: Any) -> None:
        separate = keras.backend.backend() == "tensorflow"
        super().__init__(synchronized=synchronized and separate, **kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalizes [B, H, W, C] by the batch in training, else by the moving averages."""
        kernels = _fused_kernels(keras.backend.backend())
        in_training = training and self.trainable
        if kernels is None or not in_training or mask is not None or not self._is_plain(inputs):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = kernels.batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)

    def _is_plain(self, inputs: Any) -> bool:
        """Returns whether the fused kernel supports these inputs and arguments."""
        return (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not self.synchronized
            and not getattr(self, "renorm", False)  # not in older releases of Keras
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
        )
