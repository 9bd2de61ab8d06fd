"""Kernels that TensorFlow has and `keras.ops` does not reach.

`models.layers` looks a module of this name up by the name of Keras's backend. Another backend
that has faster kernels gets a file of its own; one that has none needs nothing.
"""

from typing import Any

import tensorflow as tf


def batch_norm(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalizes a batch with its own statistics, in one kernel forward and one backward.

    The statistics and the arithmetic are float32 where `x` has 16 bits. First and second
    derivatives are defined. XLA, and with it a TPU, takes the variance as E[x^2] - E[x]^2, which
    is off where a mean is some hundred times its deviation; other devices do not.

    Args:
        x: Tensor [B, H, W, C], float32, bfloat16 or float16.
        scale: float32 [C].
        offset: float32 [C].
        epsilon: Added to the variance.

    Returns:
        The normalized tensor with the shape and dtype of `x`; the mean, float32 [C]; and the
        variance, float32 [C], of the values themselves (divided by their number).
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon
    )
    # The kernel gives the estimate for a larger population, divided by the number less one.
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    return y, mean, variance * (tf.maximum(count - 1.0, 1.0) / count)
