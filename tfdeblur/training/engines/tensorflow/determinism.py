"""Repeatable to the bit: what TensorFlow leaves to chance beside its deterministic kernels.

`tf.config.experimental.enable_op_determinism` chooses kernels that give the same result for the
same inputs. Two things remain, with TensorFlow 2.19 and 2.21 on CPUs:

- The kernel that adds three terms or more (`AddN`) begins with the one whose memory it may use
  again. Which one that is depends on what else has finished, and on how long operations took in
  earlier calls: a process that has just started rounds otherwise than one that has been at it for
  an hour. The optimizer of graphs makes that kernel out of ``a + b + c``, and the gradient tape
  out of several gradients of one tensor. Both are told to add two terms at a time.
- Operations run side by side, and not every kernel minds that. One thread takes them in turn;
  inside an operation all cores work as before.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def make_repeatable() -> bool:
    """Makes the same program give the same bits, until the process ends.

    Called before TensorFlow is used for anything that computes or looks for devices.

    Returns:
        Whether operations run in turn; False where TensorFlow was in use already, which fixes
        its threads.
    """
    # How a tape adds is not in the public module, and no other run depends on it.
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    usual = backprop._default_vspace
    add = functools.partial(_add_gradients, usual.aggregate_fn)
    pywrap_tfe.TFE_Py_RegisterVSpace(usual._replace(aggregate_fn=add))
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return False
    return True


def add_in_turn(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns ``((a + b) + c) + ...``, where `tf.add_n` begins with any of them."""
    return functools.reduce(operator.add, terms)


def _add_gradients(usual: Callable[[Sequence[Any]], Any], gradients: Sequence[Any]) -> Any:
    """Adds what reaches one tensor on several ways."""
    if all(isinstance(part, tf.Tensor) and part.dtype != tf.variant for part in gradients):
        return add_in_turn(gradients)
    # Slices of an embedding, and lists of tensors, which only TensorFlow's own way adds.
    return usual(gradients)
