"""The function that files hold: from images in [0, 1] to restored ones, of one size or of any."""

from typing import Any

import tensorflow as tf

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

INPUT, OUTPUT = "images", "restored"


def as_function(generator: Generator, size: tuple[int, int] | None, batch: int | None) -> Any:
    """Returns the network as a `tf.function` with one signature.

    Padding, value range and clipping are inside.

    Args:
        generator: The trained generator.
        size: Height and width in pixels; None leaves both free.
        batch: Images at a time; None leaves it free.

    Returns:
        From float32 [B, H, W, 3] in [0, 1] to the same, clipped.
    """
    model = generator.as_unit_model()
    height, width = size or (None, None)
    signature = [tf.TensorSpec([batch, height, width, 3], tf.float32, name=INPUT)]

    @tf.function(input_signature=signature)
    def restore(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: tf.clip_by_value(model(images, training=False), 0.0, 1.0)}

    # The function holds the weights only as long as somebody holds the model.
    restore.model = model
    return restore


def check_target(path: str, suffix: str, overwrite: bool) -> None:
    """Raises a UserError where a file must not be written."""
    if not path.endswith(suffix):
        raise UserError(f"--out {path}: the name of such a file ends with {suffix}.")
    if files.exists(path) and not overwrite:
        raise UserError(f"{path} is there already; --overwrite replaces it.")
