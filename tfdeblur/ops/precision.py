"""Keras's global settings in which networks are built and compute: precision and layout."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from tfdeblur.ops.lazy import tensorflow

Precision = Literal["auto", "float32", "bfloat16"]

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Names of Keras's policies. Weights, outputs and losses are float32 under both."""

FLOAT, LAYOUT = "float32", "channels_last"


@contextlib.contextmanager
def precision_scope(policy: str) -> Iterator[None]:
    """Sets a precision policy, float32 and channels-last in a `with` block, then restores all.

    So ``keras.json`` and the settings of a notebook have no effect on the networks inside.

    Args:
        policy: One of the values of `POLICIES`.
    """
    import keras

    before = keras.config.dtype_policy()
    floatx, layout = keras.config.floatx(), keras.config.image_data_format()
    keras.config.set_floatx(FLOAT)
    keras.config.set_image_data_format(LAYOUT)
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
        keras.config.set_image_data_format(layout)
        keras.config.set_floatx(floatx)


def require_full_float32() -> None:
    """Makes TensorFlow multiply float32 in full precision in this process.

    By default it rounds the factors, to TF32 on recent NVIDIA GPUs and to bfloat16 on TPUs.
    """
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)
