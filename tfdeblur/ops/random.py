"""Counter-based random numbers (SplitMix64), the same in NumPy and in TensorFlow.

The n-th number of a stream is computed from the stream's key and n alone, so a draw depends on
neither the order of the draws nor the number of threads, hosts or restarts. The values never
change with the version of NumPy or TensorFlow, which `tf.random.stateless_*` does not promise.

Keys form a tree: a seed has a root key, and each key has one subkey per non-negative integer.

Reference:
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

import numpy as np

from tfdeblur.ops.lazy import tensorflow as tf

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * _MULTIPLIERS[0]) & _MASK
    value = ((value ^ (value >> 27)) * _MULTIPLIERS[1]) & _MASK
    return value ^ (value >> 31)


def subkey(key: int, *indices: int) -> int:
    """Returns the key that `indices`, all non-negative, select below another key."""
    for index in indices:
        key = _mix((key + (index + 1) * _GAMMA) & _MASK)
    return key


def key_of(seed: int, *indices: int) -> int:
    """Returns the key that `indices`, all non-negative, select below a seed's root key."""
    return subkey(_mix((seed + _GAMMA) & _MASK), *indices)


def draw(key: int, indices: np.ndarray) -> np.ndarray:
    """Returns numbers of a stream.

    Args:
        key: Key of the stream.
        indices: Non-negative integers [n]: which numbers of the stream.

    Returns:
        int64 [n], uniform over [0, 2**63).
    """
    value = (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA) + np.uint64(key)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
    return ((value ^ (value >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _unsigned(value: int) -> tf.Tensor:
    return tf.constant(np.uint64(value), tf.uint64)


def subkey_tensor(key: int | tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Returns the same subkeys as `subkey`, inside a graph.

    Args:
        key: The parent key, an integer or uint64 of a shape that broadcasts with `index`.
        index: Non-negative int64 of any shape.

    Returns:
        uint64 of the broadcast shape.
    """
    parent = _unsigned(key) if isinstance(key, int) else key
    value = (tf.cast(index, tf.uint64) + _unsigned(1)) * _unsigned(_GAMMA) + parent
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        folded = tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _unsigned(shift)))
        value = folded * _unsigned(multiplier)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _unsigned(31)))


def draw_tensor(key: int | tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Returns the same numbers as `draw`, inside a graph.

    Args:
        key: Key of the stream, an integer or uint64 [].
        indices: Non-negative int64 [n].

    Returns:
        int64 [n], uniform over [0, 2**63).
    """
    return tf.cast(tf.bitwise.right_shift(subkey_tensor(key, indices), _unsigned(1)), tf.int64)
