"""Bit-exact training: sources of nondeterminism beside TensorFlow's kernels.

`tf.config.experimental.enable_op_determinism` selects deterministic kernels. Two sources remain,
with TensorFlow 2.19 and 2.21 on CPUs:

- `AddN`, the kernel that adds three or more terms, starts with the term whose memory it can reuse.
  Which one that is depends on timing, so a new process rounds differently from one that has run
  for an hour. Grappler makes that kernel from ``a + b + c``, and gradient tapes use it for several
  gradients of one tensor. Both are made to add two terms at a time.
- Ops run in parallel, which not every kernel is prepared for. They run serially on one thread; all
  cores still work within an op.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.training.engines.tensorflow import private


def make_deterministic() -> bool:
    """Makes the same program give the same bits, until the process ends.

    Must be called before TensorFlow computes or lists devices.

    Returns:
        Whether ops run serially; False if TensorFlow was in use already, which fixes its threads.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    private.wrap_gradient_aggregation(lambda default: functools.partial(_add_gradients, default))
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return False
    return True


def add_in_order(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns ``((a + b) + c) + ...``; `tf.add_n` starts with any of the terms."""
    return functools.reduce(operator.add, terms)


def _add_gradients(default: private.Aggregate, gradients: Sequence[Any]) -> Any:
    """Adds the gradients that reach one tensor on several paths."""
    if all(isinstance(part, tf.Tensor) and part.dtype != tf.variant for part in gradients):
        return add_in_order(gradients)
    # Only TensorFlow's own function adds slices of embeddings and lists of tensors.
    return default(gradients)
