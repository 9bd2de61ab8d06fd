"""Private interfaces of TensorFlow that training uses, in one place for upgrades."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Aggregate = Callable[[Sequence[Any]], Any]


def wrap_gradient_aggregation(wrap: Callable[[Aggregate], Aggregate]) -> None:
    """Replaces the function with which gradient tapes add the gradients of one tensor.

    Args:
        wrap: Receives TensorFlow's own function and returns the new one.
    """
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    default = backprop._default_vspace
    pywrap_tfe.TFE_Py_RegisterVSpace(default._replace(aggregate_fn=wrap(default.aggregate_fn)))


def merge_call(function: Callable[..., None], *arguments: Any) -> None:
    """Calls ``function(strategy, *arguments)`` once for all replicas, under every strategy.

    Keras's optimizers write their variables in the same way.
    """
    tf.__internal__.distribute.interim.maybe_merge_call(
        function, tf.distribute.get_strategy(), *arguments
    )
