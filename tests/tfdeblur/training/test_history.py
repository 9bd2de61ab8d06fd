"""The history: CSV, TensorBoard, damage, and rollbacks."""

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


def test_history_drops_rows_after_the_checkpoint(folder):
    written(folder)
    assert History(folder, 16).series("loss") == [(8.0, 1.0), (16.0, 2.0)]


def test_go_back_drops_later_rows(folder):
    history = written(folder)
    history.go_back(8)
    history.add(16, {"loss": 9.0})
    assert history.series("loss") == [(8.0, 1.0), (16.0, 9.0)]


@pytest.mark.parametrize("kind", ["resume", "rollback"])
def test_tensorboard_drops_points_that_are_computed_again(tmp_path, kind):
    folder = str(tmp_path)
    history = written(folder)
    if kind == "resume":  # Another process, after a checkpoint at 8 images.
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


def test_damaged_history_is_renamed_and_its_intact_rows_are_kept(folder, capsys):
    written(folder)
    path = files.join(folder, "history.csv")
    files.write_bytes(path, files.read_bytes(path).replace(b"16,2.0", b"16,2\xff.0\0"))
    history = History(folder, 24)
    assert history.series("loss") == [(8.0, 1.0), (24.0, 3.0)]
    assert "is damaged: renamed" in capsys.readouterr().out
    assert files.exists(f"{path}.damaged")
    history.write()
    assert rows(folder) == ["images,loss", "8,1.0", "24,3.0"]


@pytest.mark.parametrize("rubbish", [b"a\rb,2.0", b'"' + b"x" * 200_000 + b'",1'])
def test_history_with_rubbish_keeps_intact_rows(folder, capsys, rubbish):
    written(folder)
    path = files.join(folder, "history.csv")
    files.write_bytes(path, files.read_bytes(path).replace(b"16,2.0", rubbish))
    assert (24.0, 3.0) in History(folder, 24).series("loss")
    assert "is damaged: renamed" in capsys.readouterr().out


def test_file_in_place_of_curves_raises_user_error(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match="tensorboard"):
        History(str(tmp_path), 0)


def test_empty_history_has_no_scalars(folder):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "history.csv"), "")
    assert History(folder, 24).names() == []


def test_curves_that_cannot_be_written_raise_user_error(folder, monkeypatch):
    history = written(folder)
    history.add(32, {"loss": 4.0})

    def full(path, data):
        raise UserError(f"Cannot write {path}: the disk is full.")

    monkeypatch.setattr(files, "append_bytes", full)
    with pytest.raises(UserError, match="tensorboard"):
        history.write()
    # The CSV file was written before.
    assert len(rows(folder)) == 5


def test_pictures_are_written_at_once(folder):
    history = written(folder)
    (name,) = files.list_dir(files.join(folder, "tensorboard"))
    path = files.join(folder, "tensorboard", name)
    before = files.size(path)
    history.add_pictures(24, "strips", np.zeros([1, 4, 12, 3], np.uint8))
    assert files.size(path) > before
