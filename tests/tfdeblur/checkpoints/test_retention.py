"""What is swept away is the run's own, and never what it might still need."""

import os

import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies

from tfdeblur.checkpoints.manifest import META, WEIGHTS, Damaged, name_of, write_meta
from tfdeblur.checkpoints.retention import Shelf, list_checkpoints, put_aside
from tfdeblur.errors import UserError
from tfdeblur.io import files


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"ram://keeping-{tmp_path.name}"
    files.make_dirs(files.join(root, "checkpoints"))
    return files.join(root, "checkpoints")


def write(shelf: Shelf, images: int, content: bytes = b"weights") -> None:
    with shelf.writing(images) as folder:
        files.write_bytes(files.join(folder, WEIGHTS), content)
        about = {"format": 1, "images": images, "model": {"name": "toy"}, "metrics": {}}
        write_meta(folder, about)


def damage(shelf: Shelf, images: int) -> None:
    files.write_bytes(files.join(shelf.path(images), WEIGHTS), b"rubbish")


def names(folder: str) -> list[str]:
    return [name for name in files.list_dir(folder) if "damaged" not in name]


def aside(folder: str) -> list[str]:
    return [name for name in files.list_dir(folder) if "damaged" in name]


FOREIGN = ("my_copy_of_16", "notes", "16", "0000000000016", "copy of 000000000016", "²")


def test_what_is_not_the_runs_own_stays(folder):
    for name in FOREIGN:
        files.make_dirs(files.join(folder, name))
        files.write_text(files.join(folder, name, "a.txt"), name)
    files.write_text(files.join(folder, "readme.txt"), "mine")
    files.write_text(files.join(folder, name_of(3)), "a file by the name of a checkpoint")
    shelf = Shelf(folder)
    for images in (8, 16, 24):
        write(shelf, images)
        shelf.sweep(images, 1)
    own = {"readme.txt", name_of(3), name_of(24)}
    assert set(files.list_dir(folder)) == {*FOREIGN, *own}
    write(shelf, 32)
    shelf.keep_only(32)
    assert set(files.list_dir(folder)) == {*FOREIGN, "readme.txt", name_of(3), name_of(32)}
    for name in FOREIGN:
        assert files.read_text(files.join(folder, name, "a.txt")) == name


def test_what_a_killed_process_left_is_swept_up(folder):
    files.make_dirs(files.join(folder, name_of(7)))
    files.make_dirs(files.join(folder, name_of(99)))
    files.write_text(files.join(folder, name_of(99), "state.index"), "cut off")
    shelf = Shelf(folder)
    write(shelf, 8)
    shelf.sweep(8, "all")
    assert files.list_dir(folder) == [name_of(8)]


@pytest.mark.parametrize("damaged", [(8,), (16,), (24,), (8, 24), (16, 24)])
def test_damaged_ones_do_not_count_and_do_not_go(damaged, folder, capsys):
    """A new process knows nothing of what it finds."""
    before = Shelf(folder)
    for images in (8, 16, 24):
        write(before, images)
    for images in damaged:
        damage(before, images)
    shelf = Shelf(folder)
    write(shelf, 32)
    shelf.sweep(32, 2)
    others = [images for images in (24, 16, 8) if images not in damaged]
    assert names(folder) == [name_of(others[0]), name_of(32)]
    # Those older than what is kept are surplus in any case.
    found = {images for images in damaged if images > others[0]}
    assert len(aside(folder)) == len(found)
    assert capsys.readouterr().out.count("warning: ") == len(found)


def test_those_ahead_are_left_alone_and_do_not_count(folder):
    shelf = Shelf(folder)
    for images in (8, 16, 48):
        write(shelf, images)
    write(shelf, 24)
    shelf.sweep(24, 1)
    assert shelf.images() == [24, 48]


def test_putting_aside_counts_on(folder, capsys):
    shelf = Shelf(folder)
    for _ in range(3):
        write(shelf, 16)
        damage(shelf, 16)
        assert not shelf.verified(16)
        assert not files.exists(shelf.path(16))
    assert len(aside(folder)) == 3
    if "://" not in folder:
        ends = ("damaged", "damaged-2", "damaged-3")
        assert aside(folder) == [f"{name_of(16)}.{end}" for end in ends]
    for name in aside(folder):
        assert files.list_dir(files.join(folder, name)) == [WEIGHTS, META]
        assert files.join(folder, name) in capsys.readouterr().out or name != aside(folder)[0]
    assert shelf.images() == []


def test_the_newest_whole_one_is_found_and_nothing_is_touched(folder):
    shelf = Shelf(folder)
    for images in (8, 16, 24):
        write(shelf, images)
    damage(shelf, 24)
    found, damaged = Shelf(folder).newest_whole()
    assert found == shelf.path(16)
    assert [error.folder for error in damaged] == [shelf.path(24)]
    assert shelf.images() == [8, 16, 24]
    for images in (8, 16):
        damage(shelf, images)
    found, damaged = Shelf(folder).newest_whole()
    assert found is None and len(damaged) == 3
    assert Shelf(files.join(folder, "nowhere")).newest_whole() == (None, [])


def test_what_cannot_be_written_again_is_there_again(folder):
    shelf = Shelf(folder)
    write(shelf, 16, b"first")
    with pytest.raises(KeyboardInterrupt), shelf.writing(16) as place:
        files.write_text(files.join(place, WEIGHTS), "half")
        raise KeyboardInterrupt
    assert files.read_bytes(files.join(shelf.path(16), WEIGHTS)) == b"first"
    assert shelf.verified(16) and names(folder) == [name_of(16)]
    write(shelf, 16, b"second")
    assert files.read_bytes(files.join(shelf.path(16), WEIGHTS)) == b"second"
    assert shelf.verified(16) and names(folder) == [name_of(16)]


def test_a_write_that_fails_leaves_nothing(folder):
    shelf = Shelf(folder)
    with pytest.raises(UserError, match="full"), shelf.writing(16) as place:
        files.write_text(files.join(place, WEIGHTS), "half")
        raise UserError("full")
    assert names(folder) == []
    assert list_checkpoints(folder) == []


def test_putting_aside_that_fails_is_told(tmp_path, monkeypatch):
    shelf = Shelf(str(tmp_path))
    write(shelf, 16)
    damage(shelf, 16)

    def refused(source, target):
        raise UserError(f"Cannot write {target}: permission denied.")

    monkeypatch.setattr(files, "rename", refused)
    with pytest.raises(UserError, match=r"Cannot write .*16\.damaged"):
        put_aside(Damaged("It is damaged.", shelf.path(16)))
    assert shelf.images() == [16]


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
def test_whatever_happens_the_newest_whole_ones_stay(steps, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        _live_through(steps, str(tmp_path_factory.mktemp("shelf")))


def _live_through(steps, folder):
    """Saves, and hurts checkpoints before the run starts anew; knows what must be there."""
    files.make_dirs(files.join(folder, "notes"))
    shelf, now, keep = Shelf(folder), 0, 2
    whole: list[int] = []
    for what, how in steps:
        if what == "keep":
            keep = how
        elif what == "save":
            now += how
            shelf.sweep(now, keep)
            assert set(whole[-keep:]) <= set(shelf.images())
            write(shelf, now)
            shelf.sweep(now, keep)
            whole = [*whole, now][-keep:]
            left = shelf.images()
            # Damaged ones may lie where nobody had a reason to look, and are never too many.
            assert set(whole) <= set(left) and len(left) <= keep
        elif images := shelf.images():
            chosen = images[how % len(images)]
            if what == "damage":
                damage(shelf, chosen)
            else:
                files.remove(files.join(shelf.path(chosen), META))
            whole = [one for one in whole if one != chosen]
            shelf = Shelf(folder)
            found, errors = shelf.newest_whole()
            assert found == (shelf.path(whole[-1]) if whole else None)
            for error in errors:
                put_aside(error)
            now = whole[-1] if whole else 0
        assert files.is_dir(files.join(folder, "notes"))


def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_empty(tmp_path, monkeypatch):
    place = tmp_path / "checkpoints"
    place.symlink_to(tmp_path / "not mounted")
    for look in (
        lambda: list_checkpoints(str(place)),
        lambda: Shelf(str(place)).newest_whole(),
        lambda: Shelf(str(place)).keep_only(8),
    ):
        with pytest.raises(UserError, match="checkpoints is a link to what does not exist"):
            look()

    def unavailable(path):
        raise tf.errors.UnavailableError(None, None, "503")

    # TensorFlow's own `isdir` would say False to that.
    monkeypatch.setattr(tf.io.gfile, "exists", unavailable)
    with pytest.raises(UserError, match="Cannot look at gs://bucket/checkpoints: 503"):
        list_checkpoints("gs://bucket/checkpoints")
