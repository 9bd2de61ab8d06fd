"""Recomputing a network's activations in the backward pass, which trades time for memory.

Kept are only the results of operations that join two features, such as the sum at the end of each
residual block or the skip connections of a U-Net. What is between them is computed again, one
block at a time.

Reference:
    Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import keras
from jax.ad_checkpoint import checkpoint_name

_KEPT = "joined"


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with gradients for which its activations are computed again.

    Args:
        function: Calls a network that `keep_joined` has prepared.
    """
    policy = jax.checkpoint_policies.save_only_these_names(_KEPT)
    return jax.checkpoint(function, policy=policy)


def keep_joined(network: keras.Model) -> int:
    """Marks the results that `recomputed` keeps, those of operations with several inputs.

    Args:
        network: A functional model.

    Returns:
        The number of operations.
    """
    count = 0
    for operation in getattr(network, "operations", ()):
        nodes = getattr(operation, "_inbound_nodes", ())
        if any(len(node.input_tensors) > 1 for node in nodes):
            if not hasattr(operation.call, _KEPT):
                operation.call = _marked(operation.call)
            count += 1
    return count


def _marked(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def marked(*args: Any, **kwargs: Any) -> Any:
        return jax.tree.map(lambda x: checkpoint_name(x, _KEPT), call(*args, **kwargs))

    setattr(marked, _KEPT, True)
    return marked
