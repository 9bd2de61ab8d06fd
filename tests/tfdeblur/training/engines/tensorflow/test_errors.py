"""TensorFlow's errors as sentences."""

import pytest

import tensorflow as tf
from tfdeblur.errors import UserError, WorkerLost
from tfdeblur.training.engines.tensorflow.errors import explain_failure


def error(kind, message="first line.\nsecond line"):
    return kind(None, None, message)


def test_out_of_memory_says_what_to_set():
    found = explain_failure(error(tf.errors.ResourceExhaustedError), several_workers=False)
    assert type(found) is UserError
    assert str(found).startswith("Out of memory in a training step (first line). Set training.rep")
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "kind",
    [tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError],
)
def test_a_lost_worker_has_an_exit_code_of_its_own(kind):
    found = explain_failure(error(kind), several_workers=True)
    assert isinstance(found, WorkerLost)
    assert found.exit_code == 75
    assert explain_failure(error(kind), several_workers=False) is None


def test_collectives_that_fail_otherwise_mean_the_same():
    what = error(tf.errors.InternalError, "Collective ops is aborted by: timeout")
    assert isinstance(explain_failure(what, several_workers=True), WorkerLost)


def test_data_that_cannot_be_read_are_no_lost_worker():
    message = "HTTP 503\n\t [[{{node MultiDeviceIteratorGetNextFromShard}}]]"
    what = error(tf.errors.UnavailableError, message)
    assert explain_failure(what, several_workers=True) is None


def test_the_line_that_tells_is_quoted():
    what = error(tf.errors.UnavailableError, "Graph execution error:\n\nSocket closed\nmore")
    assert "(Socket closed)" in str(explain_failure(what, several_workers=True))


def test_others_are_not_explained():
    assert explain_failure(error(tf.errors.InvalidArgumentError), several_workers=True) is None
