"""The exported function: from images in [0, 1] to restored images, of one size or any size."""

from typing import Any

import tensorflow as tf

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings

INPUT, OUTPUT = "images", "restored"


def as_function(generator: Generator, size: tuple[int, int] | None, batch: int | None) -> Any:
    """Returns the network as a `tf.function` with one signature.

    Padding, value range and clipping are part of the function.

    Args:
        generator: The trained generator.
        size: Height and width in pixels; None for any size.
        batch: Number of images; None for any number.

    Returns:
        A function from float32 [B, H, W, 3] in [0, 1] to the same, clipped.
    """
    with standard_settings():
        model = generator.as_unit_model()
    height, width = size or (None, None)
    signature = [tf.TensorSpec([batch, height, width, 3], tf.float32, name=INPUT)]

    @tf.function(input_signature=signature, autograph=False)
    def restore(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with standard_settings():
            restored = model(images, training=False)
        return {OUTPUT: tf.clip_by_value(restored, 0.0, 1.0)}

    # The function references the weights only weakly.
    restore.model = model
    return restore


def check_target(path: str, suffixes: tuple[str, ...], overwrite: bool) -> None:
    """Raises a UserError if an output file has another suffix, or exists without `overwrite`."""
    if not path.endswith(suffixes):
        raise UserError(f"--out {path}: the suffix must be {' or '.join(suffixes)}.")
    if files.exists(path) and not overwrite:
        raise UserError(f"{path} exists; --overwrite replaces it.")
