"""The precision policy of Keras in which networks are built and compute."""

import contextlib
from collections.abc import Iterator
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Names of Keras's policies. Weights, outputs and losses are float32 under both."""


@contextlib.contextmanager
def precision_scope(policy: str) -> Iterator[None]:
    """Sets the precision policy of layers created inside a `with` block, then restores it.

    Args:
        policy: One of the values of `POLICIES`.
    """
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
