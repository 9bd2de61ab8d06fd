"""TensorFlow kernels that `keras.ops` does not provide.

`models.layers` imports the module named after the backend of Keras if it exists, so a backend
without such kernels needs no file.
"""

from typing import Any

import tensorflow as tf


def batch_norm(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalizes a batch with its own statistics, in one kernel forward and one backward.

    Statistics and arithmetic are float32 if `x` has 16 bits. First and second derivatives are
    defined. XLA, and therefore a TPU, computes the variance as E[x^2] - E[x]^2, which is inaccurate
    if a mean is some hundred times the standard deviation; other devices do not.

    Args:
        x: Tensor [B, H, W, C], float32, bfloat16 or float16.
        scale: float32 [C].
        offset: float32 [C].
        epsilon: Added to the variance.

    Returns:
        The normalized tensor with the shape and dtype of `x`; the mean, float32 [C]; and the biased
        variance, float32 [C] (divided by the number of values).
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon
    )
    # The kernel returns the unbiased variance, divided by the number of values minus one.
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    return y, mean, variance * (tf.maximum(count - 1.0, 1.0) / count)
