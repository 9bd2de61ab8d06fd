"""A killed command resumes a video with the frames that it has restored."""

import errno
import os
import pathlib

import numpy as np
import pytest

from tests.helpers.filming import frames_of, make
from tfdeblur.errors import DataError, UserError
from tfdeblur.inference import video
from tfdeblur.inference.video import writing
from tfdeblur.inference.video.kept_frames import KeptFrames
from tfdeblur.io import files

NETWORK = {"network": "toy"}


class Darker:
    """Halves frames; counts them and stops at one of them, as a killed process does."""

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.frames = 0
        self._stop_at = stop_at
        self._error = error

    def __call__(self, pixels):
        if self._stop_at is not None and self.frames >= self._stop_at:
            raise self._error("stopped")
        self.frames += len(pixels)
        return pixels // 2


@pytest.fixture
def desk(tmp_path):
    """A video of six frames, batches of two, and its output."""
    path = make(str(tmp_path / "a.mp4"))

    def rewrite(change, out="out/b.mp4", identity=NETWORK, source=path):
        target = str(tmp_path / out)
        two = 2 * 64 * 96
        return video.rewrite(source, target, change, pixels_at_once=two, identity=identity)

    return tmp_path, rewrite


def kept(folder):
    found = sorted((folder / "out").glob(".*.frames/0*"))
    return [int(path.name) for path in found]


def test_interrupted_video_resumes_and_equals_an_uninterrupted_one(desk, monkeypatch):
    # With its macroblock trees, x264 may encode the same frames in two ways.
    monkeypatch.setitem(writing._X264[1], "x264-params", "mbtree=0")
    folder, rewrite = desk
    with pytest.raises(KeyboardInterrupt):
        rewrite(Darker(stop_at=4))
    assert kept(folder) == [0, 2] and not (folder / "out/b.mp4").exists()
    rest = Darker()
    flicker = rewrite(rest)
    assert rest.frames == 2
    assert os.listdir(folder / "out") == ["b.mp4"]
    whole = Darker()
    assert rewrite(whole, "out/c.mp4") == flicker and whole.frames == 6
    for resumed, expected in zip(
        frames_of(str(folder / "out/b.mp4")), frames_of(str(folder / "out/c.mp4")), strict=True
    ):
        np.testing.assert_array_equal(resumed, expected)


def test_frames_of_another_network_or_source_are_not_used(desk):
    folder, rewrite = desk
    shorter = make(str(folder / "z.mp4"), count=5)
    for others, count in (({"identity": {"network": "other"}}, 6), ({"source": shorter}, 5)):
        with pytest.raises(KeyboardInterrupt):
            rewrite(Darker(stop_at=4))
        again = Darker()
        rewrite(again, **others)
        assert again.frames == count


def test_damaged_frames_are_restored_again(desk):
    folder, rewrite = desk
    with pytest.raises(KeyboardInterrupt):
        rewrite(Darker(stop_at=4))
    (path,) = (folder / "out").glob(".*.frames/000000000002")
    path.write_bytes(path.read_bytes()[:-20])
    rest = Darker()
    rewrite(rest)
    assert rest.frames == 4


def test_folder_of_another_program_is_left_alone(desk):
    folder, rewrite = desk
    other = folder / "out/.b.mp4.frames/notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(UserError, match=r"\.b\.mp4\.frames"):
        rewrite(Darker())
    assert other.read_text() == "mine"


def test_remains_of_a_killed_removal_are_replaced(desk):
    folder, rewrite = desk
    with pytest.raises(KeyboardInterrupt):
        rewrite(Darker(stop_at=4))
    (folder / "out/.b.mp4.frames/identity.json").unlink()
    whole = Darker()
    rewrite(whole)
    assert whole.frames == 6 and (folder / "out/b.mp4").exists()


def test_a_video_that_is_at_fault_leaves_no_frames(desk):
    folder, rewrite = desk
    with pytest.raises(DataError):
        rewrite(Darker(stop_at=2, error=DataError))
    assert not list((folder / "out").iterdir())


def test_full_disk_or_memory_keeps_the_frames(desk, monkeypatch):
    folder, rewrite = desk
    with pytest.raises(UserError):
        rewrite(Darker(stop_at=2, error=UserError))
    assert kept(folder) == [0]

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "rename", full)
        patch.setattr(files, "write_bytes", lambda *file: None)
        with pytest.raises(UserError, match="disk is full"):
            rewrite(Darker())
    assert kept(folder) == [0]
    rest = Darker()
    rewrite(rest)
    assert rest.frames == 4


def test_side_by_side_video_alone_keeps_the_other_file(desk):
    folder, _ = desk
    path, side = str(folder / "a.mp4"), str(folder / "out/side.mp4")
    video.rewrite(path, None, Darker(), side=side, identity=NETWORK)
    assert os.listdir(folder / "out") == ["side.mp4"]
    count, height, width, _ = frames_of(path)[0].shape
    assert frames_of(side)[0].shape == (count, height, 2 * width, 3)


def test_without_an_identity_nothing_is_kept(desk):
    folder, rewrite = desk
    with pytest.raises(KeyboardInterrupt):
        rewrite(Darker(stop_at=2), identity=None)
    assert not kept(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_kept_frames_are_returned_without_loss(tmp_path, dtype):
    frames = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (2, 5, 7, 3), dtype)
    kept_frames = KeptFrames(str(tmp_path / "a.mp4"), {})
    kept_frames.keep(4, frames)
    found = KeptFrames(str(tmp_path / "a.mp4"), {}).read(4, frames)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, frames)
    assert kept_frames.read(6, frames) is None
    assert kept_frames.read(4, frames[:1]) is None


def test_frames_beyond_the_limit_are_not_kept(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), np.uint8)
    kept_frames = KeptFrames(str(tmp_path / "a.mp4"), {}, max_bytes=12_000)
    for first in range(4):
        kept_frames.keep(first, frames)
    names = {path.name for path in pathlib.Path(kept_frames.folder).iterdir()}
    assert names == {"identity.json", "000000000000", "000000000001"}
