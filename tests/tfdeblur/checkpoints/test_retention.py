"""Retention deletes the run's own surplus checkpoints and nothing else."""

import contextlib
import itertools
import os

import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies

from tfdeblur.checkpoints.manifest import (
    FORMAT_VERSION,
    META,
    STATE,
    WEIGHTS,
    Damaged,
    checkpoint_name,
    write_meta,
)
from tfdeblur.checkpoints.retention import CheckpointFolder, list_checkpoints, set_aside
from tfdeblur.checkpoints.weights import checkpoint_folder
from tfdeblur.errors import UserError
from tfdeblur.io import files


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"ram://keeping-{tmp_path.name}"
    files.make_dirs(files.join(root, "checkpoints"))
    return files.join(root, "checkpoints")


def write(checkpoints: CheckpointFolder, images: int, content: bytes = b"weights") -> None:
    with checkpoints.writing(images) as folder:
        files.write_bytes(files.join(folder, WEIGHTS), content)
        about = {
            "format": FORMAT_VERSION,
            "images": images,
            "model": {"name": "toy"},
            "metrics": {},
        }
        write_meta(folder, about)


def damage(checkpoints: CheckpointFolder, images: int) -> None:
    files.write_bytes(files.join(checkpoints.path(images), WEIGHTS), b"rubbish")


def names(folder: str) -> list[str]:
    return [name for name in files.list_dir(folder) if "damaged" not in name]


def set_aside_names(folder: str) -> list[str]:
    return [name for name in files.list_dir(folder) if "damaged" in name]


FOREIGN = ("my_copy_of_16", "notes", "16", "0000000000016", "copy of 000000000016", "²")


def test_prune_with_foreign_files_keeps_them(folder):
    for name in FOREIGN:
        files.make_dirs(files.join(folder, name))
        files.write_text(files.join(folder, name, "a.txt"), name)
    files.write_text(files.join(folder, "readme.txt"), "mine")
    files.write_text(files.join(folder, checkpoint_name(3)), "a file with the name of a checkpoint")
    checkpoints = CheckpointFolder(folder)
    for images in (8, 16, 24):
        write(checkpoints, images)
        checkpoints.prune(images, 1)
    own = {"readme.txt", checkpoint_name(3), checkpoint_name(24)}
    assert set(files.list_dir(folder)) == {*FOREIGN, *own}
    write(checkpoints, 32)
    checkpoints.keep_only(32)
    assert set(files.list_dir(folder)) == {
        *FOREIGN,
        "readme.txt",
        checkpoint_name(3),
        checkpoint_name(32),
    }
    for name in FOREIGN:
        assert files.read_text(files.join(folder, name, "a.txt")) == name


def test_prune_deletes_unfinished_checkpoints(folder):
    files.make_dirs(files.join(folder, checkpoint_name(7)))
    files.make_dirs(files.join(folder, checkpoint_name(99)))
    files.write_text(files.join(folder, checkpoint_name(99), STATE), "cut off")
    checkpoints = CheckpointFolder(folder)
    write(checkpoints, 8)
    checkpoints.prune(8, "all")
    assert files.list_dir(folder) == [checkpoint_name(8)]


@pytest.mark.parametrize("damaged", [(8,), (16,), (24,), (8, 24), (16, 24)])
def test_prune_with_damaged_checkpoints_sets_them_aside(damaged, folder, capsys):
    """A new process has not verified any of them yet."""
    before = CheckpointFolder(folder)
    for images in (8, 16, 24):
        write(before, images)
    for images in damaged:
        damage(before, images)
    checkpoints = CheckpointFolder(folder)
    write(checkpoints, 32)
    checkpoints.prune(32, 2)
    others = [images for images in (24, 16, 8) if images not in damaged]
    assert names(folder) == [checkpoint_name(others[0]), checkpoint_name(32)]
    # Older ones than those kept are surplus, so they are not verified.
    found = {images for images in damaged if images > others[0]}
    assert len(set_aside_names(folder)) == len(found)
    assert capsys.readouterr().out.count("warning: ") == len(found)


def test_prune_keeps_checkpoints_after_the_present_count(folder):
    checkpoints = CheckpointFolder(folder)
    for images in (8, 16, 48):
        write(checkpoints, images)
    write(checkpoints, 24)
    checkpoints.prune(24, 1)
    assert checkpoints.images() == [24, 48]


def test_set_aside_again_numbers_the_names(folder, capsys):
    checkpoints = CheckpointFolder(folder)
    for _ in range(3):
        write(checkpoints, 16)
        damage(checkpoints, 16)
        assert not checkpoints.verify(16)
        assert not files.exists(checkpoints.path(16))
    assert len(set_aside_names(folder)) == 3
    if "://" not in folder:
        ends = ("damaged", "damaged-2", "damaged-3")
        assert set_aside_names(folder) == [f"{checkpoint_name(16)}.{end}" for end in ends]
    for name in set_aside_names(folder):
        assert files.list_dir(files.join(folder, name)) == [WEIGHTS, META]
        assert (
            files.join(folder, name) in capsys.readouterr().out
            or name != set_aside_names(folder)[0]
        )
    assert checkpoints.images() == []


def test_newest_intact_skips_damaged_and_changes_nothing(folder):
    checkpoints = CheckpointFolder(folder)
    for images in (8, 16, 24):
        write(checkpoints, images)
    damage(checkpoints, 24)
    found, damaged = CheckpointFolder(folder).newest_intact()
    assert found == checkpoints.path(16)
    assert [error.folder for error in damaged] == [checkpoints.path(24)]
    assert checkpoints.images() == [8, 16, 24]
    for images in (8, 16):
        damage(checkpoints, images)
    found, damaged = CheckpointFolder(folder).newest_intact()
    assert found is None and len(damaged) == 3
    assert CheckpointFolder(files.join(folder, "nowhere")).newest_intact() == (None, [])


def test_writing_over_a_checkpoint_restores_it_on_error(folder):
    checkpoints = CheckpointFolder(folder)
    write(checkpoints, 16, b"first")
    with pytest.raises(KeyboardInterrupt), checkpoints.writing(16) as written:
        files.write_text(files.join(written, WEIGHTS), "half")
        raise KeyboardInterrupt
    assert files.read_bytes(files.join(checkpoints.path(16), WEIGHTS)) == b"first"
    assert checkpoints.verify(16) and names(folder) == [checkpoint_name(16)]
    write(checkpoints, 16, b"second")
    assert files.read_bytes(files.join(checkpoints.path(16), WEIGHTS)) == b"second"
    assert checkpoints.verify(16) and names(folder) == [checkpoint_name(16)]


class Killed(BaseException):
    """Stands for the end of the process."""


@contextlib.contextmanager
def killed_before(change: int):
    """Ends the process before the change of this number to a file system, counted from 0.

    Code that handles the error changes nothing either. Buckets remove the files of a folder one by
    one, in any order.

    Yields:
        A list of the changes, one entry each.
    """
    changes: list[str] = []

    def counted(function):
        def change_or_end(*args, **kwargs):
            changes.append(function.__name__)
            if len(changes) > change:
                raise Killed
            return function(*args, **kwargs)

        return change_or_end

    remove_all = tf.io.gfile.rmtree

    def remove_one_by_one(path):
        for name in files.walk_files(path):
            tf.io.gfile.remove(files.join(path, name))
        remove_all(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        for name in ("replace", "remove", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        for name in ("rename", "remove", "makedirs"):
            patch.setattr(tf.io.gfile, name, counted(getattr(tf.io.gfile, name)))
        patch.setattr(tf.io.gfile, "rmtree", remove_one_by_one)
        with contextlib.suppress(Killed):
            yield changes


def best_after(folder: str) -> bytes:
    """Returns the weights that a new process finds, as runs and other commands do."""
    found, damaged = CheckpointFolder(folder).newest_intact()
    assert found is not None and not damaged
    assert checkpoint_folder(files.parent(folder)) == found
    return files.read_bytes(files.join(found, WEIGHTS))


def replace_best(folder: str, images: int, content: bytes, kill: int) -> bool:
    """Writes new best weights and is killed, or not if there are fewer changes; returns which."""
    with killed_before(kill) as changes:
        checkpoints = CheckpointFolder(folder)
        write(checkpoints, images, content)
        checkpoints.keep_only(images)
    return len(changes) > kill


def exists_exactly(path: str) -> bool:
    """Buckets, unlike ram://, have no file of a name because another's begins with it."""
    try:
        return files.base_name(path) in files.list_dir(files.parent(path))
    except UserError:
        return False


@pytest.mark.parametrize("again", [16, 24])
def test_two_kills_while_the_best_is_replaced_leave_one_of_them(again, folder, monkeypatch):
    """At the same image count, where a run that resumed before it validates again."""
    monkeypatch.setattr(tf.io.gfile, "exists", exists_exactly)
    best = files.join(files.parent(folder), "best")
    for first in itertools.count():
        for second in itertools.count():
            files.remove_tree(best)
            write(CheckpointFolder(best), 16, b"old")
            killed = replace_best(best, 16, b"new", first)
            left = best_after(best)
            assert left in (b"old", b"new") if killed else left == b"new"
            killed_again = replace_best(best, again, b"newer", second)
            assert best_after(best) in ((left, b"newer") if killed_again else (b"newer",))
            if not killed_again:
                assert files.list_dir(best) == [checkpoint_name(again)]
                break
        if not killed:
            break
    assert min(first, second) >= 5


def test_writing_that_raises_leaves_no_checkpoint(folder):
    checkpoints = CheckpointFolder(folder)
    with pytest.raises(UserError, match="full"), checkpoints.writing(16) as written:
        files.write_text(files.join(written, WEIGHTS), "half")
        raise UserError("full")
    assert names(folder) == []
    assert list_checkpoints(folder) == []


def test_set_aside_that_fails_raises_user_error(tmp_path, monkeypatch):
    checkpoints = CheckpointFolder(str(tmp_path))
    write(checkpoints, 16)
    damage(checkpoints, 16)

    def refused(source, target):
        raise UserError(f"Cannot write {target}: permission denied.")

    monkeypatch.setattr(files, "rename", refused)
    with pytest.raises(UserError, match=r"Cannot write .*16\.damaged"):
        set_aside(Damaged("It is damaged.", checkpoints.path(16)))
    assert checkpoints.images() == [16]


STEPS = strategies.lists(
    strategies.one_of(
        strategies.tuples(strategies.just("save"), strategies.integers(1, 3)),
        strategies.tuples(strategies.just("damage"), strategies.integers(0, 5)),
        strategies.tuples(strategies.just("cut"), strategies.integers(0, 5)),
        strategies.tuples(strategies.just("keep"), strategies.integers(1, 4)),
    ),
    min_size=6,
    max_size=20,
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(steps=STEPS)
def test_newest_intact_checkpoints_survive_any_sequence(steps, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        _run_sequence(steps, str(tmp_path_factory.mktemp("folder")))


def _run_sequence(steps, folder):
    """Saves and damages checkpoints across restarts; checks which ones must exist."""
    files.make_dirs(files.join(folder, "notes"))
    checkpoints, now, keep = CheckpointFolder(folder), 0, 2
    intact: list[int] = []
    for what, how in steps:
        if what == "keep":
            keep = how
        elif what == "save":
            now += how
            checkpoints.prune(now, keep)
            assert set(intact[-keep:]) <= set(checkpoints.images())
            write(checkpoints, now)
            checkpoints.prune(now, keep)
            intact = [*intact, now][-keep:]
            left = checkpoints.images()
            # Damaged ones that were not verified may remain, but never more than `keep` in all.
            assert set(intact) <= set(left) and len(left) <= keep
        elif images := checkpoints.images():
            chosen = images[how % len(images)]
            if what == "damage":
                damage(checkpoints, chosen)
            else:
                files.remove(files.join(checkpoints.path(chosen), META))
            intact = [one for one in intact if one != chosen]
            checkpoints = CheckpointFolder(folder)
            found, errors = checkpoints.newest_intact()
            assert found == (checkpoints.path(intact[-1]) if intact else None)
            for error in errors:
                set_aside(error)
            now = intact[-1] if intact else 0
        assert files.is_dir(files.join(folder, "notes"))


def test_inaccessible_folder_raises_user_error(tmp_path, monkeypatch):
    place = tmp_path / "checkpoints"
    place.symlink_to(tmp_path / "not mounted")
    for look in (
        lambda: list_checkpoints(str(place)),
        lambda: CheckpointFolder(str(place)).newest_intact(),
        lambda: CheckpointFolder(str(place)).keep_only(8),
    ):
        with pytest.raises(UserError, match="checkpoints is a link to a path that does not exist"):
            look()

    def unavailable(path):
        raise tf.errors.UnavailableError(None, None, "503")

    # TensorFlow's own `isdir` would say False to that.
    monkeypatch.setattr(tf.io.gfile, "exists", unavailable)
    with pytest.raises(UserError, match="gs://bucket/checkpoints: 503"):
        list_checkpoints("gs://bucket/checkpoints")
