"""A split out of arrays, so that judging is tested apart from reading."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf


class ArrayPairs:
    """Pairs of a split held in memory, batched as `EvaluationData` batches them."""

    def __init__(self, blurred: np.ndarray, sharp: np.ndarray) -> None:
        self.blurred, self.sharp = blurred, sharp
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
    """Noisy copies of random images; the first `same` of them are exact copies."""
    random = np.random.default_rng(5)
    sharp = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    noise = random.normal(0, 12, sharp.shape) * (np.arange(count) >= same)[:, None, None, None]
    blurred = np.clip(np.rint(sharp + noise), 0, 255).astype(np.uint8)
    return ArrayPairs(blurred, sharp)


@pytest.fixture
def pairs() -> Callable[..., ArrayPairs]:
    return make_pairs
