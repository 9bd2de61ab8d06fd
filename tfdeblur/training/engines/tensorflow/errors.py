"""User-facing messages for errors that TensorFlow raises in a step."""

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
        return WorkerLost(
            f"Another worker of this job has ended or is unreachable, so this one ends as well "
            f"({reason}). Its own output shows why. Start all workers again, the same number of "
            "them: they resume from the newest checkpoint."
        )
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return UserError(
            f"Out of memory in a training step ({reason}). Set training.replica_batch to half of "
            "the images that a device processed at once: gradients are then accumulated and the "
            "training stays the same. The same command resumes from the newest checkpoint."
        )
    return None
