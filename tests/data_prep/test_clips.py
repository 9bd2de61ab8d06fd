"""Clips are read from folders and videos alike."""

import numpy as np
import pytest

from data_prep import clips
from tests.data_prep.conftest import picture, save
from tfdeblur.errors import DataError

cv2 = pytest.importorskip("cv2")


def write_video(path, count=12, width=64, height=48):
    """Frames of one gray level each, so that a frame tells its own number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 24, (width, height))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((height, width, 3), 10 * number + 5, np.uint8))
    writer.release()
    return path


def numbers(frames):
    return [round((frame.mean() - 5) / 10) for frame in frames]


def test_numbers_in_names_give_the_order():
    names = ["f10.png", "f9.png", "f1.png", "g0.png", "f010b.png"]
    assert clips.in_order(names) == ["f1.png", "f9.png", "f010b.png", "f10.png", "g0.png"]


def test_a_video_and_a_folder_are_read_alike(tmp_path):
    video = write_video(tmp_path / "a.avi")
    for number in range(12):
        save(tmp_path / "b" / f"{number}.png", np.full((48, 64, 3), 10 * number + 5, np.uint8))
    for path in (video, tmp_path / "b"):
        clip = clips.open_clip(str(path))
        assert clip.probe() == (12, 48, 64)
        for first in (0, 1, 7):
            frames = clip.read(first, 4)
            assert numbers(frames) == [first, first + 1, first + 2, first + 3]
            assert {(frame.shape, frame.dtype.name) for frame in frames} == {((48, 64, 3), "uint8")}


def test_colors_of_a_video_are_in_order(tmp_path):
    path = str(tmp_path / "red.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 24, (32, 32))
    writer.write(np.full((32, 32, 3), (0, 0, 250), np.uint8))
    writer.release()
    red, _, blue = clips.open_clip(path).read(0, 1)[0].mean((0, 1))
    assert red > 200 and blue < 50


def test_videos_that_are_none_or_end_too_soon_are_named(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4 cannot be opened as a video"):
        clips.open_clip(str(path)).probe()
    with pytest.raises(DataError, match=r"Frame 12 of .*b\.avi cannot be read"):
        clips.open_clip(str(write_video(tmp_path / "b.avi"))).read(10, 4)
    with pytest.raises(DataError, match="Copy it here first"):
        clips.open_clip("gs://bucket/a.mp4").probe()


def test_folders_whose_frames_differ_in_size_or_vanish_are_named(tmp_path):
    save(tmp_path / "1.png", picture(0))
    path = save(tmp_path / "2.png", picture(0, 41, 30))
    clip = clips.open_clip(str(tmp_path))
    with pytest.raises(DataError, match="is 41x30, but the first frame of its clip") as caught:
        clip.probe()
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="fewer frames than when it was listed"):
        clip.read(1, 2)
    with pytest.raises(DataError, match="cannot be read"):
        clips.open_clip(str(tmp_path / "nothing")).read(0, 1)


def test_a_wrong_count_in_the_head_of_a_file_is_corrected(tmp_path, monkeypatch):
    path = str(write_video(tmp_path / "a.avi"))
    real = cv2.VideoCapture

    class Liar:
        def __init__(self, path):
            self._video = real(path)

        def get(self, key):
            return 99 if key == cv2.CAP_PROP_FRAME_COUNT else self._video.get(key)

        def __getattr__(self, name):
            return getattr(self._video, name)

    monkeypatch.setattr(cv2, "VideoCapture", Liar)
    assert clips.open_clip(path).probe()[0] == 12


@pytest.mark.parametrize(
    ("name", "count"), [("bedroom.mp4", 200), ("05_default_juggle.mp4", 247), ("camel", 40)]
)
def test_real_clips(real_data, name, count):
    clip = clips.open_clip(str(real_data / "sequences" / name))
    assert clip.probe()[0] == count
    # The same frames, wherever reading starts.
    later = clip.read(17, 3)
    np.testing.assert_array_equal(clip.read(16, 3)[1], later[0])
    np.testing.assert_array_equal(clip.read(18, 1)[0], later[1])
