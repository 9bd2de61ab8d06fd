"""Conversion between image arrays and the float32 batches that networks take."""

from typing import Any

import numpy as np

from tfdeblur.errors import UserError

# Resizing and color conversion overshoot [0, 1] by about this much.
_TOLERANCE = 0.01


def to_batch(array: np.ndarray) -> np.ndarray:
    """Converts an image or a batch of images to a float32 batch.

    Args:
        array: [H, W, 3], [B, H, W, 3], or gray as [H, W] or with one channel; uint8, uint16, or
            floating point in [0, 1].

    Returns:
        float32 [B, H, W, 3] in [0, 1]; gray is repeated in all channels.

    Raises:
        UserError: Another shape or dtype, or values outside [0, 1] or not finite.
    """
    shape = array.shape
    gray = _is_gray(shape)
    if not gray and not (len(shape) in (3, 4) and shape[-1] == 3):
        raise UserError(
            f"Images are [H, W, 3], [B, H, W, 3], or gray as [H, W] or with one channel; got "
            f"{list(shape)}."
            + (" Restore the colors and keep the alpha channel apart." * (shape[-1:] == (4,)))
        )
    if 0 in (shape[:2] if len(shape) < 4 else shape[1:3]):
        raise UserError(f"An image has at least one pixel; got the shape {list(shape)}.")
    unit = _to_unit(array)
    unit = unit[..., np.newaxis] if len(shape) == 2 else unit
    batch = unit if unit.ndim == 4 else unit[np.newaxis]
    return np.repeat(batch, 3, axis=-1) if gray else batch


def from_batch(batch: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Converts a batch back to the shape and dtype of the array that `to_batch` took.

    Args:
        batch: float32 [B, H, W, 3] in [0, 1].
        like: The array that `to_batch` took.

    Returns:
        An array of the shape and dtype of `like`; integers are rounded half to even.
    """
    if _is_gray(like.shape):
        batch = batch.mean(axis=-1, keepdims=True)
    unit = batch.reshape(like.shape)
    if np.issubdtype(like.dtype, np.floating):
        return unit.astype(like.dtype)
    return np.rint(unit * np.float32(np.iinfo(like.dtype).max)).astype(like.dtype)


def _is_gray(shape: tuple[Any, ...]) -> bool:
    return len(shape) == 2 or (len(shape) in (3, 4) and shape[-1] == 1)


def _to_unit(array: np.ndarray) -> np.ndarray:
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"Images are uint8, uint16, or floating-point in [0, 1]; got {array.dtype}."
        )
    unit = array.astype(np.float32)
    low, high = (float(unit.min()), float(unit.max())) if unit.size else (0.0, 0.0)
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise UserError(
            f"Floating-point images are in [0, 1]; these range from {low:g} to {high:g}. Divide "
            "values in [0, 255] by 255, or pass uint8."
        )
    return np.clip(unit, 0.0, 1.0)
