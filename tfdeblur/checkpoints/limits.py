"""Bounds for networks that are built as a file describes them.

A file of a few kilobytes may ask for a network of any size. Its weights are at hand, so the network
can have no more of them; the bound is checked before each one is allocated.
"""

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

_building = threading.RLock()


class TooManyWeights(ValueError):
    """A network has more weights than its file."""


@contextlib.contextmanager
def no_more_weights_than(arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Bounds the weights of the layers that this thread builds in the block.

    Args:
        arrays: The weights that the network will get.

    Raises:
        TooManyWeights: A layer would add one that exceeds the number of arrays, or of their
            values.
    """
    remaining = [len(arrays), sum(values.size for values in arrays.values())]
    thread = threading.get_ident()

    def add_weight(layer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            remaining[0] -= 1
            remaining[1] -= math.prod([shape] if isinstance(shape, int) else shape or ())
            if min(remaining) < 0:
                raise TooManyWeights("the network has more weights than the file")
        return original(layer, shape, *args, **kwargs)

    with _building:
        original = keras.layers.Layer.add_weight
        keras.layers.Layer.add_weight = add_weight
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = original
