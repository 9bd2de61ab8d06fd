"""Paired augmentation: random crops, flips and quarter turns, determined by the position.

Crop and orientation are drawn for whole blocks of positions at once, as three integers per sample:
its *placement*. The placement is applied later, to single pairs or to batches, and identically to
both halves of a pair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tfdeblur.ops import random
from tfdeblur.ops.lazy import tensorflow as tf

Pair: TypeAlias = "dict[str, tf.Tensor]"

# Streams below the key of a data set's augmentation.
_ORIENTATIONS, _CROPS = 0, 1

# An orientation is a sum of these, applied in this order; they generate the eight symmetries of a
# square.
_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = 4, 2, 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random augmentation of samples; all possible outcomes are equally likely.

    Attributes:
        horizontal_flips: Randomly flip left to right.
        vertical_flips: Randomly flip upside down.
        quarter_turns: Rotate counterclockwise by 0, 90, 180 or 270 degrees; square samples only.
    """

    horizontal_flips: bool = True
    vertical_flips: bool = True
    quarter_turns: bool = False

    @property
    def orientations(self) -> tuple[int, ...]:
        """The possible orientations; their number is a power of two."""
        if self.quarter_turns and (self.horizontal_flips or self.vertical_flips):
            return tuple(range(8))
        if self.quarter_turns:
            half = _UPSIDE_DOWN + _MIRRORED
            return (0, _TRANSPOSED + _UPSIDE_DOWN, half, _TRANSPOSED + _MIRRORED)
        mirrored = (0, _MIRRORED) if self.horizontal_flips else (0,)
        turned = tuple(m + _UPSIDE_DOWN for m in mirrored) if self.vertical_flips else ()
        return mirrored + turned

    def draw(self, key: int, positions: tf.Tensor, slack: tuple[int, int]) -> tf.Tensor:
        """Draws the placements of samples.

        Args:
            key: Key of the draws; see `ops.random.key_of`.
            positions: int64 [n], non-negative: positions of the samples in their sequence.
            slack: Rows and columns by which an image exceeds its crop.

        Returns:
            int32 [n, 3]: first row and first column of the crop, and index into `orientations`.
        """
        bits = random.draw_tensor(random.subkey(key, _CROPS), positions)
        # Two numbers of 31 bits from one of 63, scaled to 0..slack.
        top = bits // 2**32 * (slack[0] + 1) // 2**31
        left = bits % 2**31 * (slack[1] + 1) // 2**31
        bits = random.draw_tensor(random.subkey(key, _ORIENTATIONS), positions)
        orientation = bits // 2**60 * len(self.orientations) // 8
        return tf.cast(tf.stack([top, left, orientation], axis=1), tf.int32)

    def draw_array(self, key: int, positions: np.ndarray, slack: tuple[int, int]) -> np.ndarray:
        """Returns the numbers of `draw` without TensorFlow: int64 [n, 3] for int64 [n]."""
        bits = random.draw(random.subkey(key, _CROPS), positions)
        top = bits // 2**32 * (slack[0] + 1) // 2**31
        left = bits % 2**31 * (slack[1] + 1) // 2**31
        bits = random.draw(random.subkey(key, _ORIENTATIONS), positions)
        orientation = bits // 2**60 * len(self.orientations) // 8
        return np.stack([top, left, orientation], axis=1)

    def place(self, pair: Pair, placement: tf.Tensor, size: tuple[int, int]) -> Pair:
        """Crops and orients one pair.

        Args:
            pair: uint8 [height, width, 3] each, with static shapes.
            placement: int32 [3], one row of the result of `draw`.
            size: Height and width of the crop.

        Returns:
            The pair as uint8 [*size, 3] each, with static shapes.
        """
        names, images = list(pair), list(pair.values())
        if tuple(images[0].shape[:2]) != size:
            begin = tf.concat([placement[:2], [0]], axis=0)
            images = [tf.slice(image, begin, [*size, 3]) for image in images]
        if len(self.orientations) > 1:
            cropped = images
            branches = [
                lambda code=code: [_oriented(image, code) for image in cropped]
                for code in self.orientations
            ]
            images = tf.switch_case(placement[2], branches)
        return dict(zip(names, images, strict=True))

    def place_array(
        self, images: Sequence[np.ndarray], placements: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """Crops and orients n arrays [h, w, 3], as `place` does; returns uint8 [n, *size, 3]."""
        placed = np.empty([len(images), *size, 3], np.uint8)
        for row, (top, left, orientation) in enumerate(placements.tolist()):
            image = images[row][top : top + size[0], left : left + size[1]]
            code = self.orientations[orientation]
            image = image.transpose(1, 0, 2) if code & _TRANSPOSED else image
            image = image[::-1] if code & _UPSIDE_DOWN else image
            placed[row] = image[:, ::-1] if code & _MIRRORED else image
        return placed

    def place_batch(self, pair: Pair, placements: tf.Tensor) -> Pair:
        """Orients batches of pairs without cropping, with the same result as `place` for each pair.

        Args:
            pair: uint8 [batch, height, width, 3] each, with static shapes.
            placements: int32 [batch, 3], the result of `draw`.

        Returns:
            The pairs, of the same shapes.
        """
        codes = tf.gather(tf.constant(self.orientations), placements[:, 2])
        return {name: self._orient_batch(images, codes) for name, images in pair.items()}

    def _orient_batch(self, images: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        for bit in (_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED):
            if any(code & bit for code in self.orientations):
                chosen = tf.not_equal(tf.bitwise.bitwise_and(codes, bit), 0)
                # TensorFlow 1's `where` selects whole images without broadcasting the mask.
                images = tf.compat.v1.where(chosen, _flipped_batch(images, bit), images)
        return images


def _oriented(image: tf.Tensor, code: int) -> tf.Tensor:
    """Orients one image [height, width, 3]; the orientation is fixed."""
    if code & _TRANSPOSED:
        image = tf.transpose(image, [1, 0, 2])
    height, width, channels = image.shape
    # TensorFlow reverses the middle of three dimensions fastest, and gathers rows even faster.
    if not code & (_UPSIDE_DOWN + _MIRRORED):
        return image
    if not code & _UPSIDE_DOWN:
        return tf.reverse(image, [1])
    if code & _MIRRORED:
        turned = tf.reverse(tf.reshape(image, [1, height * width, channels]), [1])
    else:
        rows = tf.reshape(image, [height, width * channels])
        turned = tf.gather(rows, tf.range(height - 1, -1, -1))
    return tf.reshape(turned, [height, width, channels])


def _flipped_batch(images: tf.Tensor, bit: int) -> tf.Tensor:
    """Applies one flip or transposition to all images of [batch, height, width, 3]."""
    if bit == _TRANSPOSED:
        return tf.transpose(images, [0, 2, 1, 3])
    batch, height, width, channels = images.shape
    shape = [batch, height, width * channels] if bit == _UPSIDE_DOWN else [-1, width, channels]
    return tf.reshape(tf.reverse(tf.reshape(images, shape), [1]), [batch, height, width, channels])
