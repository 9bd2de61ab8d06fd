"""What DeblurGAN-v2's generators share: the pyramid, and backbones that start from Keras's weights.

Reference:
    Kupyn et al., "DeblurGAN-v2: Deblurring (Orders-of-Magnitude) Faster and Better", ICCV 2019,
    section 3.1 and figure 3.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers, ops
from pydantic import Field

from tfdeblur.config.fields import Duration
from tfdeblur.errors import ConfigError, DataError, reason_of
from tfdeblur.io import array_files, files
from tfdeblur.models.blocks import Norm, convolve, normalize
from tfdeblur.models.generator import Backbone
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.models.layers import BatchNormalization, GroupNormalization, Synchronized

RANDOM = "random"
"""Value of `backbone_weights` for a backbone that was not trained before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyramidOptions:
    """Settings of every network with a pyramid."""

    width: Annotated[int, Field(gt=0, multiple_of=2)] = 64
    """channels of the heads, even; the pyramid has twice as many"""
    norm: Norm = "instance"
    """instance: as in the original, whose batches are single images; batch: for batches of 4 and
    more; both normalize the backbone too"""
    synchronized: Synchronized = False
    backbone_weights: str | None = None
    """HDF5 file with Keras's weights of the backbone, loaded when a run starts; downloaded by Keras
    if unset; random: initial weights are random"""
    frozen: Duration = "3 epochs"
    """how long the backbone keeps the weights that it starts with; steps are those of the first
    stage"""


def lateral(features: Any, level: int, options: PyramidOptions) -> Any:
    """Returns features of the backbone with the channels of the pyramid, by a 1x1 convolution.

    Args:
        features: Tensor [B, h, w, C].
        level: 0 at H/2 to 4 at H/32.
        options: The width.

    Returns:
        A tensor [B, h, w, 2 width]; [B, h, w, width] at level 0.
    """
    channels = 2 * options.width if level else options.width
    return convolve(features, channels, 1, use_bias=False, name=f"lateral{level}")


def restore(images: Any, laterals: Sequence[Any], options: PyramidOptions, epsilon: float) -> Any:
    """Returns the output of a network: the pyramid, its heads, and the correction of the input.

    Args:
        images: The network's input, float32 [B, H, W, 3] in [-1, 1], H and W multiples of 32.
        laterals: What `lateral` returns for levels 0 to 4, at exactly H/2, H/4, H/8, H/16 and H/32.
        options: Width and norm.
        epsilon: Added to variances by batch norm.

    Returns:
        float32 [B, H, W, 3] in [-1, 1].
    """

    def smooth(x: Any, channels: int, name: str) -> Any:
        x = convolve(x, channels, 3, name=f"{name}_conv")
        x = normalize(
            x,
            options.norm,
            synchronized=options.synchronized,
            epsilon=epsilon,
            name=f"{name}_norm",
        )
        return layers.ReLU(name=f"{name}_relu")(x)

    def enlarge(x: Any, factor: int, name: str) -> Any:
        return layers.UpSampling2D(factor, name=f"{name}_up")(x) if factor > 1 else x

    x = laterals[4]
    maps = [x]
    for level in (3, 2, 1):
        name = f"pyramid{level}"
        x = layers.Add(name=f"{name}_add")([laterals[level], enlarge(x, 2, name)])
        x = smooth(x, 2 * options.width, name)
        maps.append(x)
    heads = []
    for level, x in zip((4, 3, 2, 1), maps, strict=True):
        for step in (1, 2):
            name = f"head{level}_conv{step}"
            x = convolve(x, options.width, 3, use_bias=False, activation="relu", name=name)
        heads.append(enlarge(x, 2 ** (level - 1), f"head{level}"))
    x = layers.Concatenate(name="heads")(heads)
    x = enlarge(smooth(x, options.width, "smooth1"), 2, "smooth1")
    x = layers.Add(name="smooth1_add")([x, laterals[0]])
    x = enlarge(smooth(x, options.width // 2, "smooth2"), 2, "smooth2")
    x = convolve(x, 3, 3, activation="tanh", dtype="float32", name="correction")
    x = layers.Add(dtype="float32", name="add_input")([images, x])
    return ops.clip(x, -1.0, 1.0)


def backbone_norm(options: PyramidOptions, *, epsilon: float, name: str) -> keras.Layer:
    """Returns a norm of the backbone, which has scales and offsets of either kind.

    The authors' code trains on single images and restores in training mode, so that the batch norm
    of the backbone normalizes each image separately. That is what ``instance`` computes, without
    moving averages, for batches of any size.
    """
    if options.norm == "instance":
        return GroupNormalization(groups=-1, epsilon=epsilon, name=name)
    return BatchNormalization(synchronized=options.synchronized, epsilon=epsilon, name=name)


def trained_before(
    network: keras.Model, load: Callable[[], None], options: PyramidOptions
) -> Backbone | None:
    """Returns the backbone whose weights `load` sets, or None if they are random."""
    if options.backbone_weights == RANDOM:
        return None
    return Backbone(load=load, variables=tuple(network.trainable_variables), frozen=options.frozen)


def published(application: str, side: int, path: str | None) -> keras.Model:
    """Returns a network of Keras with its weights for ImageNet, without its top.

    Args:
        application: Its name in `keras.applications`.
        side: Of the images that it was trained on, in pixels.
        path: HDF5 file with the weights; None for those that Keras publishes.

    Raises:
        ConfigError: No file is given, and Keras could not download its own.
        UserError: The file is missing or cannot be read.
        DataError: The file is damaged, or lacks a weight.
    """
    build = getattr(keras.applications, application)
    with standard_settings():
        if path is not None:
            return _read(build, application, path)
        try:  # from Keras's cache or the web
            network: keras.Model = build(
                include_top=False, weights="imagenet", input_shape=(side, side, 3)
            )
        except Exception as error:  # Keras raises a bare Exception if a download fails
            raise ConfigError(
                f"Keras could not download the ImageNet weights of {application} "
                f"({reason_of(error)}): set model.backbone_weights to a file, or to {RANDOM!r}."
            ) from error
    return network


def _read(build: Callable[..., keras.Model], application: str, path: str) -> keras.Model:
    """Returns Keras's network with the weights of a file."""
    data = files.read_bytes(path)
    arrays = array_files.read_hdf5(data, path)
    network = build(include_top=False, weights=None, input_shape=(None, None, 3))
    # Keras tells its two formats apart by the end of the name.
    end = ".weights.h5" if any("/vars/" in name for name in arrays) else ".h5"
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / f"backbone{end}"
        copy.write_bytes(data)
        try:
            network.load_weights(copy)
        except Exception as error:  # a file of another network raises several types
            raise DataError(
                f"{path} does not have the weights of Keras's {application}, as published, without "
                f"its top: {reason_of(error)}."
            ) from error
    if not all(np.isfinite(value).all() for value in network.get_weights()):
        raise DataError(f"{path} is damaged: it contains values that are not finite numbers.")
    return network
