"""The stages that a sample passes on its way into a training batch, as pictures."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.data.augment import Augmentation
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import UserError
from tfdeblur.ops import random
from tfdeblur.ops.tiling import Box
from tfdeblur.paper.side_by_side import stored_frame, stored_images

_BATCH = 4
_MARK = (255, 212, 0)
_FLIPS = (
    ("mirrored", Augmentation(True, False, False)),
    ("upside down", Augmentation(False, True, False)),
    ("turned", Augmentation(False, False, True)),
)

Pictures = dict[str, np.ndarray]


def stages(
    data: EvaluationData, index: int, crop: tuple[int, int] | None, seed: int
) -> dict[str, Pictures]:
    """Follows a record from its frame to a batch, with the code of training.

    Args:
        data: A split of images of one size.
        index: The record.
        crop: Height and width of the crops; whole records if unset.
        seed: Seed of the draws.

    Returns:
        For `blurred` and `sharp` the pictures by the name of their stage, uint8 [h, w, 3].

    Raises:
        UserError: The record does not exist, or is smaller than the crop.
    """
    if len(data.sizes) > 1:
        raise UserError(f"{data.path}, {data.split}: images differ in size, so none is cropped.")
    height, width = crop or (data.height, data.width)
    if height > data.height or width > data.width:
        raise UserError(
            f"crop: {width}x{height} is larger than the records of {data.width}x{data.height}."
        )
    (own,) = stored_images(data, [index])
    found: dict[str, Pictures] = {"blurred": {}, "sharp": {}}

    def add(title: str, pair: dict[str, Any]) -> None:
        for half, pictures in found.items():
            pictures[title] = np.asarray(pair[half])

    place = own.place
    if own.sharp.shape[:2] != place.frame_size and (frame := stored_frame(data, own)) is not None:
        marked = {half: _marked(getattr(frame, half), place.box) for half in found}
        add(f"frame {place.frame_size[1]}x{place.frame_size[0]}", marked)
    pair = {"blurred": tf.constant(own.blurred), "sharp": tf.constant(own.sharp)}
    add(f"record {data.width}x{data.height}", pair)
    slack = (data.height - height, data.width - width)
    key = random.key_of(seed)
    positions = tf.range(_BATCH, dtype=tf.int64)
    if slack != (0, 0):
        plain = Augmentation(False, False, False)
        placement = plain.draw(key, positions, slack)[0]
        pair = plain.place(pair, placement, (height, width))
        add(f"crop {width}x{height} at {int(placement[1])},{int(placement[0])}", pair)
    for title, flip in _FLIPS:
        if title == "turned" and height != width:
            continue
        chosen = tf.constant([0, 0, 1])  # the first orientation is the identity
        pair = flip.place(pair, chosen, (height, width))
        add(title, pair)
    several = stored_images(data, [(index + step) % data.records for step in range(_BATCH)])
    augmentation = Augmentation(quarter_turns=height == width)
    placements = augmentation.draw(key, positions, slack)
    batch = [
        augmentation.place(
            {"blurred": tf.constant(one.blurred), "sharp": tf.constant(one.sharp)},
            placement,
            (height, width),
        )
        for one, placement in zip(several, placements, strict=True)
    ]
    add(
        f"batch [{_BATCH}, {height}, {width}, 3]",
        {half: _mosaic([np.asarray(sample[half]) for sample in batch]) for half in found},
    )
    return found


def _marked(image: np.ndarray, box: Box) -> np.ndarray:
    """Returns a copy with a frame around a box."""
    marked = image.copy()
    line = max(1, min(image.shape[:2]) // 100)
    inner = image[box.top + line : box.bottom - line, box.left + line : box.right - line].copy()
    marked[box.slices] = _MARK
    marked[box.top + line : box.bottom - line, box.left + line : box.right - line] = inner
    return marked


def _mosaic(images: list[np.ndarray]) -> np.ndarray:
    """Returns images two by two, with white lines between them."""
    line = max(1, images[0].shape[0] // 32)
    padded = [np.pad(i, ((0, line), (0, line), (0, 0)), constant_values=255) for i in images]
    rows = [np.concatenate(padded[first : first + 2], axis=1) for first in range(0, len(images), 2)]
    return np.concatenate(rows, axis=0)[:-line, :-line]
