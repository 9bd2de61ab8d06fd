"""Whole files or none, on every file system that TensorFlow reads."""

import errno

import pytest
import tensorflow as tf

from tfdeblur import files
from tfdeblur.errors import UserError


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://files-{tmp_path.name}"


def test_write_read_list_and_walk(folder):
    files.make_dirs(files.join(folder, "a/b"))
    files.write_bytes(files.join(folder, "a/b/x.bin"), b"\x00\xff")
    files.write_text(files.join(folder, "a/y.txt"), "ü")
    assert files.read_bytes(files.join(folder, "a/b/x.bin")) == b"\x00\xff"
    assert files.read_text(files.join(folder, "a/y.txt")) == "ü"
    assert files.list_dir(files.join(folder, "a")) == ["b", "y.txt"]
    assert files.walk_files(folder) == ["a/b/x.bin", "a/y.txt"]
    assert files.size(files.join(folder, "a/b/x.bin")) == 2


def test_links_that_lead_up_are_not_followed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.txt").write_text(name)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "y.txt").write_text("")
    for link, target in {"a/up": "..", "a/b": "../b", "b/a": "../a", "z": "../else"}.items():
        (tmp_path / "set" / link).symlink_to(target)
    # Each of two folders that lead to each other is seen in the other one, and that is all.
    assert files.walk_files(str(tmp_path / "set")) == [
        "a/b/x.txt",
        "a/x.txt",
        "b/a/x.txt",
        "b/x.txt",
        "z/y.txt",
    ]


def test_rename_replaces_and_remove_is_idempotent(folder):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "old"), "1")
    files.write_text(files.join(folder, "new"), "2")
    files.rename(files.join(folder, "old"), files.join(folder, "new"))
    assert files.read_text(files.join(folder, "new")) == "1"
    assert not files.exists(files.join(folder, "old"))
    files.remove(files.join(folder, "new"))
    files.remove(files.join(folder, "new"))
    files.remove_tree(files.join(folder, "nothing"))


def test_join_keeps_the_scheme():
    assert files.join("ram://a", "b", "c.txt") == "ram://a/b/c.txt"
    assert files.parent("gs://bucket/run/") == "gs://bucket"
    assert files.base_name("gs://bucket/run/") == "run"


def test_missing_file_is_named(folder):
    with pytest.raises(UserError, match=r"nowhere.json: it does not exist"):
        files.read_json(files.join(folder, "nowhere.json"))


def test_broken_json_names_the_line(tmp_path):
    path = str(tmp_path / "broken.json")
    files.write_text(path, '{"a": 1,\n"b"')
    with pytest.raises(UserError, match=r"broken.json is not valid JSON \(line 2"):
        files.read_json(path)


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = str(tmp_path / "latin.txt")
    files.write_bytes(path, b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"latin.txt is not a UTF-8"):
        files.read_text(path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left"),
    ],
)
def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = str(tmp_path / "value.json")
    files.write_json(path, {"kept": True})

    class Full(tf.io.gfile.GFile):
        def write(self, data):
            raise error

    monkeypatch.setattr(tf.io.gfile, "GFile", Full)
    with pytest.raises(UserError, match=r"value.json: the disk is full"):
        files.write_json(path, {"kept": False})
    monkeypatch.undo()
    assert files.read_json(path) == {"kept": True}


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(str(tmp_path / "nan.json"), {"a": float("nan")})
