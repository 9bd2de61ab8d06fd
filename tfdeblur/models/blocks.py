"""Building blocks of the networks of the DeblurGAN family."""

from typing import Any, Literal

import keras
from keras import ops

from tfdeblur.models.layers import BatchNormalization, ReflectionPadding

Norm = Literal["batch", "instance"]
Padding = Literal["reflect", "zero"]
Upsampling = Literal["transposed", "resize"]


def normalize(x: Any, kind: Norm, *, synchronized: bool, epsilon: float = 1e-3, name: str) -> Any:
    """Applies batch norm, or instance norm, which normalizes each channel of each image separately.

    Instance norm has neither scale nor offset, as in PyTorch's defaults and DeblurGAN's code; batch
    norm has both.

    Args:
        x: Tensor [B, H, W, C].
        kind: ``batch`` or ``instance``.
        synchronized: Whether batch norm computes its statistics over all replicas.
        epsilon: Added to the variance by batch norm; instance norm adds 1e-5.
        name: Name of the layer.

    Returns:
        A tensor of the same shape.
    """
    if kind == "batch":
        return BatchNormalization(synchronized=synchronized, epsilon=epsilon, name=name)(x)
    instance = keras.layers.GroupNormalization(
        groups=-1, epsilon=1e-5, scale=False, center=False, name=name
    )
    return instance(x)


def convolve(
    x: Any,
    channels: int | None,
    kernel: int,
    *,
    padding: Padding = "zero",
    name: str,
    **options: Any,
) -> Any:
    """Convolves at stride 1 with an odd kernel and keeps the size.

    Args:
        x: Tensor [B, H, W, C].
        channels: Channels of the output; None filters each channel alone (depthwise).
        kernel: Side of the kernel, odd.
        padding: ``reflect`` mirrors the borders, ``zero`` adds zeros.
        name: Name of the convolution.
        **options: For the convolution, such as `keras.layers.Conv2D`.

    Returns:
        A tensor [B, H, W, channels], or of the input's shape.
    """
    edge = "valid" if padding == "reflect" else "same"
    if padding == "reflect":
        # In the convolution's precision; otherwise the input of a float32 layer would be rounded.
        border = ReflectionPadding(kernel // 2, dtype=options.get("dtype"), name=f"{name}_pad")
        x = border(x)
    if channels is None:
        return keras.layers.DepthwiseConv2D(kernel, padding=edge, name=name, **options)(x)
    return keras.layers.Conv2D(channels, kernel, padding=edge, name=name, **options)(x)


def halve(x: Any, channels: int, *, name: str, **options: Any) -> Any:
    """Convolves 3x3 at stride 2 with one zero on every side, as in PyTorch; H and W are even.

    Keras's "same" padding adds a zero at the bottom and right only.
    """
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(channels, 3, strides=2, name=name, **options)(x)


def double(
    x: Any,
    channels: int,
    *,
    kernel: tuple[int, int] = (3, 3),
    upsampling: Upsampling = "transposed",
    name: str,
    **options: Any,
) -> Any:
    """Doubles each side along which `kernel` is 3, by a transposed convolution or by resizing.

    Args:
        x: Tensor [B, H, W, C].
        channels: Channels of the output.
        kernel: 3 or 1 along height and width; a side of 1 keeps the size.
        upsampling: ``transposed`` has the geometry of PyTorch's stride 2, padding 1 and output
            padding 1: output 2 h - 1 + k gets input h times weight k. ``resize`` repeats pixels
            and convolves, which avoids checkerboard artifacts.
        name: Name of the convolution.
        **options: For the convolution.

    Returns:
        A tensor [B, 2 H, 2 W, channels], or with one of the sides unchanged.
    """
    factors = tuple(2 if side == 3 else 1 for side in kernel)
    if upsampling == "resize":
        x = keras.layers.UpSampling2D(factors, name=f"{name}_resize")(x)
        return keras.layers.Conv2D(channels, kernel, padding="same", name=name, **options)(x)
    x = keras.layers.Conv2DTranspose(channels, kernel, strides=factors, name=name, **options)(x)
    # Without padding the output has one more pixel; PyTorch omits the first.
    first = tuple((factor - 1, 0) for factor in factors)
    return keras.layers.Cropping2D(first, name=f"{name}_crop")(x)


def correct(images: Any, features: Any, *, padding: Padding, residual: bool = True) -> Any:
    """Returns the output of a network: a 7x7 convolution to RGB, tanh, plus the input, clipped.

    Args:
        images: The network's input, float32 [B, H, W, 3] in [-1, 1].
        features: Tensor [B, H, W, C].
        padding: Of the convolution.
        residual: Whether the input is added; otherwise the output of tanh is the image.

    Returns:
        float32 [B, H, W, 3] in [-1, 1].
    """
    x = convolve(
        features, 3, 7, padding=padding, activation="tanh", dtype="float32", name="correction"
    )
    if not residual:
        return x
    x = keras.layers.Add(dtype="float32", name="add_input")([images, x])
    return ops.clip(x, -1.0, 1.0)
