"""TensorFlow's errors as sentences."""

import pytest
import tensorflow as tf

from tfdeblur.errors import UserError, WorkerLost
from tfdeblur.training.engines.tensorflow.errors import explain_failure


def error(kind, message="first line.\nsecond line"):
    return kind(None, None, message)


def test_out_of_memory_names_replica_batch():
    found = explain_failure(error(tf.errors.ResourceExhaustedError), several_workers=False)
    assert type(found) is UserError
    assert "first line" in str(found) and "training.replica_batch" in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "kind",
    [tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError],
)
def test_lost_worker_has_its_own_exit_code(kind):
    found = explain_failure(error(kind), several_workers=True)
    assert isinstance(found, WorkerLost)
    assert found.exit_code == 75
    assert explain_failure(error(kind), several_workers=False) is None


def test_failed_collective_is_a_lost_worker():
    what = error(tf.errors.InternalError, "Collective ops is aborted by: timeout")
    assert isinstance(explain_failure(what, several_workers=True), WorkerLost)


def test_unreadable_data_is_not_a_lost_worker():
    message = "HTTP 503\n\t [[{{node MultiDeviceIteratorGetNextFromShard}}]]"
    what = error(tf.errors.UnavailableError, message)
    assert explain_failure(what, several_workers=True) is None


def test_message_quotes_the_informative_line():
    what = error(tf.errors.UnavailableError, "Graph execution error:\n\nSocket closed\nmore")
    assert "(Socket closed)" in str(explain_failure(what, several_workers=True))


def test_other_errors_return_none():
    assert explain_failure(error(tf.errors.InvalidArgumentError), several_workers=True) is None
