"""A split of arrays, to test evaluation without reading files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf


class ArrayPairs:
    """Pairs in memory, batched as in `EvaluationData`."""

    def __init__(self, blurred: np.ndarray, sharp: np.ndarray) -> None:
        self.blurred, self.sharp = blurred, sharp
        self.records = len(sharp)
        self.read = 0

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        shape = [batch_size, *self.sharp.shape[1:]]
        signature = {
            "blurred": tf.TensorSpec(shape, tf.uint8),
            "sharp": tf.TensorSpec(shape, tf.uint8),
            "scene": tf.TensorSpec([batch_size], tf.string),
            "frame": tf.TensorSpec([batch_size], tf.string),
            "valid": tf.TensorSpec([batch_size], tf.bool),
        }
        return tf.data.Dataset.from_generator(
            lambda: self._batches(batch_size), output_signature=signature
        )

    def _batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        count = len(self.sharp)
        for first in range(0, count, batch_size):
            self.read += 1
            places = np.arange(first, first + batch_size)
            filled = np.minimum(places, count - 1)
            yield {
                "blurred": self.blurred[filled],
                "sharp": self.sharp[filled],
                "scene": [f"scene{place // 3}" for place in filled],
                "frame": [f"{place:04d}" for place in filled],
                "valid": places < count,
            }


def make_pairs(count: int = 7, height: int = 16, width: int = 20, same: int = 2) -> ArrayPairs:
    """Noisy copies of random images, of which the first `same` are exact copies."""
    random = np.random.default_rng(5)
    sharp = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    noise = random.normal(0, 12, sharp.shape) * (np.arange(count) >= same)[:, None, None, None]
    blurred = np.clip(np.rint(sharp + noise), 0, 255).astype(np.uint8)
    return ArrayPairs(blurred, sharp)
