"""The few Keras layers that several models share, on any of Keras's backends."""

import functools
import importlib
import importlib.util
from types import ModuleType
from typing import Any

import keras

from tfdeblur import imaging


@keras.saving.register_keras_serializable(package="tfdeblur")
class PadToMultiple(keras.layers.Layer):
    """Mirrors the bottom and right border until both sizes are multiples of one number.

    Args:
        multiple: Positive number of pixels.

    Call arguments:
        images: Tensor [B, H, W, C]; H and W may be unknown.

    Returns:
        A tensor [B, H', W', C]; see `tfdeblur.imaging.pad_to_multiple`.
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images: Any) -> Any:
        return imaging.pad_to_multiple(images, self.multiple)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        sizes = (
            None if size is None else imaging.padded_size(size, self.multiple)
            for size in (height, width)
        )
        return (batch, *sizes, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple}


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
        _, height, width, _ = keras.ops.shape(like)
        return imaging.crop_to(images, height, width)

    def compute_output_shape(self, images_shape: Any, like_shape: Any) -> tuple[int | None, ...]:
        return (images_shape[0], like_shape[1], like_shape[2], images_shape[3])


@keras.saving.register_keras_serializable(package="tfdeblur")
class ToRange(keras.layers.Layer):
    """Takes images from one value range to the other: [0, 1] to [-1, 1] or back.

    Args:
        source: `unit` or `signed`, where the images are.
        target: Where they shall be.

    Call arguments:
        images: Floating-point tensor of any shape.

    Returns:
        A tensor of the same shape, not clipped.
    """

    def __init__(
        self, source: imaging.ValueRange, target: imaging.ValueRange, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.target = target

    def call(self, images: Any) -> Any:
        return imaging.to_range(imaging.to_unit(images, self.source), self.target)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "source": self.source, "target": self.target}


@functools.cache
def _fused_kernels(backend: str) -> ModuleType | None:
    """Returns the module with a backend's own kernels, or None where there is none."""
    name = f"tfdeblur._fused_{backend}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


@keras.saving.register_keras_serializable(package="tfdeblur")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization, with the backend's fused kernel in training where it has one.

    The function is the one of `keras.layers.BatchNormalization`, with the same weights and
    arguments. Keras composes it of some twenty operations, each of which reads or writes the whole
    tensor, in float32 even where the layer computes in 16 bits; that took a third of a training
    step of `rednet30`. The fused kernel reads and writes 16 bits and computes in float32.
    Synchronized statistics, inference and other backends use Keras's own code.

    Reference:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift", ICML 2015, algorithm 1.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalizes [B, H, W, C]; with `training` by the batch, else by the moving averages."""
        kernels = _fused_kernels(keras.backend.backend())
        in_training = training and self.trainable
        if kernels is None or not in_training or mask is not None or not self._is_plain(inputs):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = kernels.batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return keras.ops.cast(outputs, self.compute_dtype)

    def _is_plain(self, inputs: Any) -> bool:
        """Returns whether the fused kernel computes what was asked for."""
        return (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not self.synchronized
            and not getattr(self, "renorm", False)  # older releases of Keras do not have it
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
        )
