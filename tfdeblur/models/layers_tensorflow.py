"""TensorFlow kernels that `keras.ops` does not provide.

`models.layers` imports the module named after the backend of Keras if it exists, so a backend
without such kernels needs no file.
"""

from typing import Any

import tensorflow as tf

# Between the seeds of two replicas; a prime, so that seeds of layers do not coincide.
_REPLICA_STRIDE = 1_000_003


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


def dropout(x: Any, rate: float, noise_shape: Any, seed: Any) -> Any:
    """Drops elements by masks that differ between replicas.

    Args:
        x: Tensor [B, H, W, C].
        rate: Share of the elements to drop.
        noise_shape: Shape of the mask, with 1 for axes that share it.
        seed: Integers [2], equal on all replicas. The first replica draws what Keras draws.

    Returns:
        A tensor like `x`; the elements that remain are divided by 1 - `rate`.
    """
    if seed.dtype != tf.int32:
        seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)
    context = tf.distribute.get_replica_context()
    replica = tf.cast(0 if context is None else context.replica_id_in_sync_group, tf.int32)
    return tf.nn.experimental.stateless_dropout(
        x,
        rate=rate,
        noise_shape=noise_shape,
        seed=seed + tf.stack([replica * _REPLICA_STRIDE, 0]),
    )
