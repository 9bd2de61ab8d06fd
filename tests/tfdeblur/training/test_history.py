"""The history survives damage and goes back with the run."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.training.history import History


def rows(folder):
    return files.read_text(files.join(folder, "history.csv")).splitlines()


def written(folder):
    files.make_dirs(folder)
    history = History(folder, 0)
    for images in (8, 16, 24):
        history.add(images, {"loss": images / 8})
    history.write()
    return history


def test_rows_after_the_checkpoint_are_dropped(folder):
    written(folder)
    assert History(folder, 16).series("loss") == [(8.0, 1.0), (16.0, 2.0)]


def test_going_back_drops_rows(folder):
    history = written(folder)
    history.go_back(8)
    history.add(16, {"loss": 9.0})
    assert history.series("loss") == [(8.0, 1.0), (16.0, 9.0)]


@pytest.mark.parametrize("kind", ["goes on", "goes back"])
def test_tensorboard_drops_the_points_that_are_made_again(tmp_path, kind):
    folder = str(tmp_path)
    history = written(folder)
    if kind == "goes on":  # Another process, after a checkpoint at 8 images.
        history = History(folder, 8)
    else:
        history.go_back(8)
    for images in (16, 20):
        history.add(images, {"loss": 100.0 + images})
    history.write()
    curves = EventAccumulator(files.join(folder, "tensorboard"))
    curves.Reload()
    points = [
        (one.step, float(tf.make_ndarray(one.tensor_proto))) for one in curves.Tensors("loss")
    ]
    assert points == [(8, 1.0), (16, 116.0), (20, 120.0)]


def test_a_damaged_history_is_put_aside_and_its_good_rows_are_kept(folder, capsys):
    written(folder)
    path = files.join(folder, "history.csv")
    files.write_bytes(path, files.read_bytes(path).replace(b"16,2.0", b"16,2\xff.0\0"))
    history = History(folder, 24)
    assert history.series("loss") == [(8.0, 1.0), (24.0, 3.0)]
    assert "is damaged: it is" in capsys.readouterr().out
    assert files.exists(f"{path}.damaged")
    history.write()
    assert rows(folder) == ["images,loss", "8,1.0", "24,3.0"]


@pytest.mark.parametrize("rubbish", [b"a\rb,2.0", b'"' + b"x" * 200_000 + b'",1'])
def test_rubbish_in_a_history_is_no_hindrance(folder, capsys, rubbish):
    written(folder)
    path = files.join(folder, "history.csv")
    files.write_bytes(path, files.read_bytes(path).replace(b"16,2.0", rubbish))
    assert (24.0, 3.0) in History(folder, 24).series("loss")
    assert "is damaged: it is" in capsys.readouterr().out


def test_a_file_in_the_place_of_the_curves_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match=r"Cannot write TensorBoard's curves in .*tensorboard: "):
        History(str(tmp_path), 0)


def test_an_empty_history_is_a_beginning(folder):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "history.csv"), "")
    assert History(folder, 24).names() == []


def test_curves_that_cannot_be_written_are_named(folder, monkeypatch):
    history = written(folder)

    class Full:
        def flush(self):
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(history, "_writer", Full())
    with pytest.raises(UserError, match=r"TensorBoard's curves in .*: No space left on device"):
        history.write()
    # The table was written before.
    assert len(rows(folder)) == 4


@pytest.mark.parametrize("kind", ["scalar", "image"])
def test_a_disk_that_fills_up_with_points_is_no_lack_of_memory(folder, monkeypatch, kind):
    """TensorFlow hands points to the disk whenever a few wait, and not only when it is asked to."""
    history = written(folder)

    def full(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary, kind, full)
    with pytest.raises(UserError, match=r"TensorBoard's curves in .*: No space left on device"):
        if kind == "scalar":
            history.add(32, {"loss": 4.0})
        else:
            history.add_pictures(32, "strips", np.zeros([1, 4, 12, 3], np.uint8))
