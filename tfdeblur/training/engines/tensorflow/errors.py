"""User-facing messages for errors that TensorFlow raises in a step."""

import tensorflow as tf

from tfdeblur.data.dataset import was_reading
from tfdeblur.errors import UserError, reason_of
from tfdeblur.training.engines.engine import out_of_memory, worker_lost

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def explain_failure(error: Exception, several_workers: bool) -> UserError | None:
    """Explains an error that a compiled step raised, other than those of reading data.

    Args:
        error: The error.
        several_workers: Whether other processes took part in the step.

    Returns:
        An error to raise from `error`, or None if it is not a known one.
    """
    if not isinstance(error, tf.errors.OpError):
        return None
    reason = reason_of(error.message)
    lost = isinstance(error, _LOST) or "ollective" in error.message
    # An unreachable bucket raises the same error as an unreachable worker.
    if several_workers and lost and not was_reading(error):
        return worker_lost(reason)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return out_of_memory(reason)
    return None
