"""Errors of TensorFlow in a step, as sentences that say what to do."""

import tensorflow as tf

from tfdeblur.data.dataset import was_reading
from tfdeblur.errors import UserError, WorkerLost, reason_of

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def explain_failure(error: Exception, several_workers: bool) -> UserError | None:
    """Explains an error that a compiled step raised, but for those of data.

    Args:
        error: What was raised.
        several_workers: Other processes took part in the step.

    Returns:
        An error to be raised from `error`, or None where it is none that is known.
    """
    if not isinstance(error, tf.errors.OpError):
        return None
    reason = reason_of(error.message)
    lost = isinstance(error, _LOST) or "ollective" in error.message
    # A bucket that cannot be reached raises the same as a worker that cannot.
    if several_workers and lost and not was_reading(error):
        return WorkerLost(
            f"Another worker of this job is gone or cannot be reached, so this one ends as well "
            f"({reason}). Its own output says why. Start all workers again, as many as there are "
            "now: they go on from the newest checkpoint."
        )
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return UserError(
            f"Out of memory in a training step ({reason}). Set training.replica_batch to half of "
            "what a device took at once: gradients are then added up and the training stays the "
            "same. The same command goes on from the newest checkpoint."
        )
    return None
