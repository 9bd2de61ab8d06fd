"""Event files equal those that TensorFlow writes."""

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.training.events import EventWriter

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
VALUES = {"loss": 0.25, "ä/b": -1e9, "nan": float("nan")}


def events(folder):
    """Returns the events of the only file of a folder, without times."""
    (name,) = files.list_dir(folder)
    found = []
    for data in tf.data.TFRecordDataset([files.join(folder, name)]):
        event = tf.compat.v1.Event.FromString(data.numpy())
        assert event.wall_time > 1e9
        event.wall_time = 0
        event.ClearField("source_metadata")
        found.append(event)
    return found


def plain(event):
    """Returns what TensorBoard shows of a summary."""
    return [
        (value.tag, value.metadata, tf.make_ndarray(value.tensor)) for value in event.summary.value
    ]


def test_scalars_equal_those_of_tensorflow(folder):
    own, theirs = files.join(folder, "own"), files.join(folder, "theirs")
    writer = EventWriter(own)
    writer.add_scalars(7, VALUES)
    writer.flush()
    with tf.summary.create_file_writer(theirs).as_default(step=7):
        for name, value in VALUES.items():
            tf.summary.scalar(name, value)
    found, expected = events(own), events(theirs)
    assert found[0] == expected[0]
    assert [event.step for event in found[1:]] == [7] * len(VALUES)
    for event, other in zip(found[1:], expected[1:], strict=True):
        ((tag, metadata, tensor),), ((their_tag, theirs_, their_tensor),) = map(
            plain, (event, other)
        )
        assert (tag, metadata) == (their_tag, theirs_)
        np.testing.assert_array_equal(tensor, their_tensor)


def test_value_beyond_float32_is_infinite(folder):
    writer = EventWriter(folder)
    writer.add_scalars(1, {"loss": -1e300})
    writer.flush()
    ((_, _, tensor),) = plain(events(folder)[1])
    assert tensor == -np.inf


def test_images_are_those_of_tensorflow(folder):
    own, theirs = files.join(folder, "own"), files.join(folder, "theirs")
    writer = EventWriter(own)
    writer.add_images(9, "strips", IMAGES)
    writer.flush()
    with tf.summary.create_file_writer(theirs).as_default(step=9):
        tf.summary.image("strips", IMAGES, max_outputs=2)
    ((tag, metadata, tensor),) = plain(events(own)[1])
    ((their_tag, their_metadata, their_tensor),) = plain(events(theirs)[1])
    assert (tag, metadata) == (their_tag, their_metadata)
    assert tensor.shape == their_tensor.shape and (tensor[:2] == their_tensor[:2]).all()
    for data, image in zip(tensor[2:], IMAGES, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(data).numpy(), image)


def test_restart_is_the_start_of_a_session(folder):
    writer = EventWriter(folder)
    writer.restart(12)
    writer.flush()
    event = events(folder)[1]
    assert (event.step, event.session_log.status) == (13, tf.compat.v1.SessionLog.START)


def test_events_are_kept_until_they_are_written(folder, monkeypatch):
    writer = EventWriter(folder)
    writer.add_scalars(1, {"loss": 1.0})
    with monkeypatch.context() as patch:

        def full(path, data):
            raise UserError(f"Cannot write {path}: the disk is full.")

        patch.setattr(files, "append_bytes", full)
        with pytest.raises(UserError):
            writer.flush()
    writer.add_scalars(2, {"loss": 2.0})
    writer.flush()
    assert [event.step for event in events(folder)] == [0, 1, 2]
