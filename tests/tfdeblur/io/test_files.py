"""Files are written atomically, on local and remote file systems."""

import errno
import os
import signal
import subprocess
import sys
import tempfile

import pytest
import tensorflow as tf

from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"ram://files-{tmp_path.name}"


def test_files_are_read_listed_and_walked_as_written(folder):
    files.make_dirs(files.join(folder, "a/b"))
    files.write_bytes(files.join(folder, "a/b/x.bin"), b"\x00\xff")
    files.write_text(files.join(folder, "a/y.txt"), "ü")
    assert files.read_bytes(files.join(folder, "a/b/x.bin")) == b"\x00\xff"
    assert files.read_text(files.join(folder, "a/y.txt")) == "ü"
    assert files.list_dir(files.join(folder, "a")) == ["b", "y.txt"]
    assert files.walk_files(folder) == ["a/b/x.bin", "a/y.txt"]
    assert files.size(files.join(folder, "a/b/x.bin")) == 2


def test_walk_files_with_links_to_parents_does_not_follow_them(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.txt").write_text(name)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "y.txt").write_text("")
    for link, target in {"a/up": "..", "a/b": "../b", "b/a": "../a", "z": "../else"}.items():
        (tmp_path / "set" / link).symlink_to(target)
    # Of two folders that link to each other, each is listed once inside the other.
    assert files.walk_files(str(tmp_path / "set")) == [
        "a/b/x.txt",
        "a/x.txt",
        "b/a/x.txt",
        "b/x.txt",
        "z/y.txt",
    ]


def test_copy_tree_copies_what_is_newer_than_its_copy(tmp_path):
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    (source / "x").write_text("one")
    files.copy_tree(str(source), str(target))
    (source / "x").write_text("two")
    os.utime(target / "x", (1e9, 1e9))
    files.copy_tree(str(source), str(target))
    assert (target / "x").read_text() == "two"


def test_copy_tree_copies_what_is_missing_or_of_another_size(folder):
    source, target = files.join(folder, "from"), files.join(folder, "to")
    files.make_dirs(files.join(source, "a"))
    for name, text in {"a/x": "new", "y": "long", "z": "same"}.items():
        files.write_text(files.join(source, name), text)
    files.make_dirs(target)
    files.write_text(files.join(target, "y"), "cut")
    files.write_text(files.join(target, "z"), "kept")
    files.copy_tree(source, target)
    found = {name: files.read_text(files.join(target, name)) for name in files.walk_files(target)}
    assert found == {"a/x": "new", "y": "long", "z": "kept"}


def test_rename_replaces_the_target_and_remove_is_idempotent(folder):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "old"), "1")
    files.write_text(files.join(folder, "new"), "2")
    files.rename(files.join(folder, "old"), files.join(folder, "new"))
    assert files.read_text(files.join(folder, "new")) == "1"
    assert not files.exists(files.join(folder, "old"))
    files.remove(files.join(folder, "new"))
    files.remove(files.join(folder, "new"))
    files.remove_tree(files.join(folder, "nothing"))


def test_set_aside_keeps_what_was_set_aside_before(folder):
    path = files.join(folder, "history.csv")
    for text in ("first", "second", "third"):
        files.write_text(path, text)
        files.set_aside(path)
    kept = [f"{path}.damaged", f"{path}.damaged-2", f"{path}.damaged-3"]
    assert [files.read_text(name) for name in kept] == ["first", "second", "third"]


def test_exists_in_an_unavailable_bucket_raises_user_error(monkeypatch):
    def unavailable(path):
        raise tf.errors.UnavailableError(None, None, "503")

    monkeypatch.setattr(tf.io.gfile, "exists", unavailable)
    with pytest.raises(UserError, match=r"gs://bucket/a: 503\."):
        files.exists("gs://bucket/a")
    with pytest.raises(UserError, match=r"gs://bucket/a: 503\."):
        files.remove("gs://bucket/a")


def test_join_parent_and_base_name_keep_the_scheme():
    assert files.join("ram://a", "b", "c.txt") == "ram://a/b/c.txt"
    assert files.parent("gs://bucket/run/") == "gs://bucket"
    assert files.base_name("gs://bucket/run/") == "run"


def test_read_json_of_a_missing_file_names_it(folder):
    with pytest.raises(UserError, match=r"nowhere\.json"):
        files.read_json(files.join(folder, "nowhere.json"))


def test_read_json_of_invalid_json_names_the_line(tmp_path):
    path = str(tmp_path / "broken.json")
    files.write_text(path, '{"a": 1,\n"b"')
    with pytest.raises(UserError, match=r"broken\.json .*line 2"):
        files.read_json(path)


def test_read_text_drops_a_byte_order_mark(tmp_path):
    path = str(tmp_path / "a.txt")
    files.write_bytes(path, "\ufeffgr\u00fcn \ufeff\n".encode())
    assert files.read_text(path) == "gr\u00fcn \ufeff\n"


def test_read_text_that_is_not_utf8_names_the_file(tmp_path):
    path = str(tmp_path / "latin.txt")
    files.write_bytes(path, b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"latin\.txt .*UTF-8"):
        files.read_text(path)


def test_remove_abandoned_removes_files_of_killed_writers_and_no_others(tmp_path):
    folder = str(tmp_path)
    long = "x" * 250 + ".png"
    for name in ("a.png", "b.JPG", long):
        program = (
            "import os, signal, sys\nfrom tfdeblur.io import files\n"
            "with files.open_new(sys.argv[1]) as file:\n"
            "    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, f"{folder}/{name}"])
        assert done.returncode == -signal.SIGKILL
    assert len(files.list_dir(folder)) == 3
    foreign = ["a.png.partial", "a.png.0123.partial", "c.txt.0123abcd.partial", ".0123abcd.partial"]
    for name in foreign:
        files.write_text(f"{folder}/{name}", "theirs")
    files.make_dirs(f"{folder}/d.png.0123abcd.partial/e.png.0123abcd.partial")
    os.symlink(f"{folder}/a.png.partial", f"{folder}/f.png.0123abcd.partial")
    kept = [*foreign, "d.png.0123abcd.partial", "f.png.0123abcd.partial"]
    with files.open_new(f"{folder}/g.png") as file, files.open_name(f"{folder}/h.mp4") as name:
        files.remove_abandoned(folder, (".png", ".jpg", ".mp4"))
        assert len(files.list_dir(folder)) == len(kept) + 2
        file.write(b"alive")
        files.write_text(name, "alive")
    assert files.list_dir(folder) == sorted([*kept, "g.png", "h.mp4"])
    assert files.read_text(f"{folder}/g.png") == files.read_text(f"{folder}/h.mp4") == "alive"
    for missing in (f"{folder}/missing", f"ram://{folder}"):
        files.remove_abandoned(missing, (".png",))


def test_open_new_survives_a_removal_between_creation_and_lock(tmp_path, monkeypatch):
    lock, seen = files.lock, []

    def removed_first(file, wait=False):
        if not seen:
            files.remove_abandoned(str(tmp_path), ("a",))
            seen.append(file.name)
            monkeypatch.setattr(files, "lock", lock)
        return lock(file, wait)

    real = [lock, removed_first]
    monkeypatch.setattr(files, "lock", lambda file, wait=False: real[wait](file, wait))
    files.write_text(f"{tmp_path}/a", "complete")
    assert seen and files.list_dir(str(tmp_path)) == ["a"]
    assert files.read_text(f"{tmp_path}/a") == "complete"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        tf.errors.ResourceExhaustedError(None, None, "No space left"),
    ],
)
def test_open_new_on_a_full_disk_keeps_the_old_file_only(folder, error):
    files.make_dirs(folder)
    path = files.join(folder, "value.json")
    files.write_json(path, {"kept": True})
    with (
        pytest.raises(UserError, match=r"value\.json: the disk is full"),
        files.open_new(path) as file,
    ):
        file.write(b"{")
        raise error
    assert files.read_json(path) == {"kept": True}
    assert files.list_dir(folder) == ["value.json"]


@pytest.mark.parametrize("fsync", [False, True])
def test_open_new_renames_the_file_when_it_is_complete(folder, fsync):
    files.make_dirs(folder)
    path = files.join(folder, "x")
    with files.open_new(path, fsync) as file:
        file.write(b"1")
        assert "x" not in files.list_dir(folder)
    assert files.read_bytes(path) == b"1"
    with pytest.raises(ZeroDivisionError), files.open_new(path, fsync) as file:
        file.write(b"2")
        _ = 1 / 0
    assert files.read_bytes(path) == b"1"
    assert files.list_dir(folder) == ["x"]


def test_open_new_with_failing_fsync_keeps_the_old_file(tmp_path, monkeypatch):
    """Network file systems and disks with delayed allocation report a full disk that late."""
    path = str(tmp_path / "x")
    files.write_bytes(path, b"old")

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with (
        pytest.raises(UserError, match=r"x: the disk is full"),
        files.open_new(path, fsync=True) as file,
    ):
        file.write(b"new")
    assert files.read_bytes(path) == b"old"
    assert files.list_dir(str(tmp_path)) == ["x"]


def test_two_writers_of_one_file_do_not_mix_their_bytes(folder):
    files.make_dirs(folder)
    path = files.join(folder, "x")
    with files.open_new(path) as first:
        first.write(b"aaaa")
        with files.open_new(path) as second:
            second.write(b"bb")
        assert files.read_bytes(path) == b"bb"
    assert files.read_bytes(path) == b"aaaa"
    assert files.list_dir(folder) == ["x"]


def test_write_bytes_to_a_missing_folder_names_the_file(tmp_path):
    path = str(tmp_path / "nowhere" / "x")
    with pytest.raises(UserError, match="nowhere/x"):
        files.write_bytes(path, b"")


def test_write_json_of_nan_raises_value_error(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(str(tmp_path / "nan.json"), {"a": float("nan")})


def test_long_names_and_names_that_are_not_utf8_are_supported(tmp_path):
    long = f"{tmp_path}/{'x' * 250}.txt"
    files.write_text(long, "kept")
    assert files.read_text(long) == "kept"
    odd = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(odd, "wb") as file:
        file.write(b"odd")
    assert [os.fsencode(name) for name in files.walk_files(str(tmp_path))][-1] == b"\xff.txt"
    assert files.read_bytes(os.fsdecode(odd)) == b"odd"


def test_open_name_moves_the_file_when_it_is_complete(folder, tmp_path):
    path = f"{tmp_path}/new"
    with files.open_name(path) as name, open(name, "w", encoding="utf-8") as file:
        file.write("complete")
    assert files.list_dir(str(tmp_path)) == ["new"]
    with pytest.raises(RuntimeError), files.open_name(path) as name:
        files.write_text(name, "half")
        raise RuntimeError
    assert files.read_text(path) == "complete" and files.list_dir(str(tmp_path)) == ["new"]
    with files.open_name(f"{folder}/far") as name, open(name, "wb") as file:
        file.write(b"far away")
    with files.open_read(f"{folder}/far") as far:
        assert far.read() == b"far away"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (errno = 28)"),  # of h5py
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_temporary_folder_on_a_full_disk_names_the_place(tmp_path, monkeypatch, error):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match=str(tmp_path)), files.temporary_folder() as folder:
        files.write_text(f"{folder}/a", "a")
        raise error
    assert files.list_dir(str(tmp_path)) == []


def test_temporary_folder_in_a_missing_place_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files.check_temporary_folder()
    assert files.list_dir(str(tmp_path)) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing"):
        files.check_temporary_folder()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_read_bytes_of_a_device_raises_user_error(tmp_path):
    (tmp_path / "endless").symlink_to("/dev/full")
    with pytest.raises(UserError, match="endless"):
        files.read_bytes(f"{tmp_path}/endless")


@pytest.mark.parametrize("path", ["gs:/bucket/runs", "ram:/x", "gs:/"])
def test_scheme_with_one_slash_raises_user_error(path):
    with pytest.raises(UserError, match=r"(gs|ram)://"):
        files.make_dirs(path)


def test_is_local_of_a_drive_letter_is_true():
    assert files.is_local("c:/runs")
    assert files.is_local("a b:/x")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, '{"a": 1', ""])
def test_read_json_of_a_damaged_file_names_it(tmp_path, text):
    path = f"{tmp_path}/a.json"
    files.write_text(path, text)
    with pytest.raises(DataError, match=r"a\.json"):
        files.read_json(path)
