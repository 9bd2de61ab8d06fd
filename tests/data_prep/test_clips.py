"""Clips from folders and videos."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from data_prep import clips
from tests.helpers.raw_data import picture, save, write_video
from tfdeblur.errors import DataError
from tfdeblur.io import videos

cv2 = pytest.importorskip("cv2")


def numbers(frames):
    return [round((frame.mean() - 5) / 10) for frame in frames]


def test_in_order_sorts_by_numbers():
    names = ["f10.png", "f9.png", "f1.png", "g0.png", "f010b.png"]
    assert clips.in_order(names) == ["f1.png", "f9.png", "f010b.png", "f10.png", "g0.png"]


def test_clip_video_and_folder_yield_same_frames(tmp_path):
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


def test_video_clip_returns_rgb(tmp_path):
    path = str(tmp_path / "red.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 24, (32, 32))
    writer.write(np.full((32, 32, 3), (0, 0, 250), np.uint8))
    writer.release()
    red, _, blue = clips.open_clip(path).read(0, 1)[0].mean((0, 1))
    assert red > 200 and blue < 50


def test_video_clip_damaged_or_too_short_raises(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4"):
        clips.open_clip(str(path)).probe()
    with pytest.raises(DataError, match=r"Frame 12 of .*b\.avi"):
        clips.open_clip(str(write_video(tmp_path / "b.avi"))).read(10, 4)
    with pytest.raises(DataError, match=r"gs://bucket/a\.mp4"):
        clips.open_clip("gs://bucket/a.mp4").probe()


def test_video_clip_frames_larger_than_the_limit_raise(tmp_path, monkeypatch):
    path = str(write_video(tmp_path / "a.avi"))
    monkeypatch.setattr(videos, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match=r"a\.avi"):
        clips.open_clip(path).probe()


PLAYLISTS = {
    "list.mp4": "ffconcat version 1.0\nfile secret.avi\n",
    "list.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.avi\n#EXT-X-ENDLIST\n",
    "session.mov": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("earlier", [None, "rtsp_transport;udp|protocol_whitelist;file,tcp"])
def test_video_clip_opens_no_other_file_or_host(tmp_path, monkeypatch, name, earlier):
    variable = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    if earlier:
        monkeypatch.setenv(variable, earlier)
    else:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "secret.avi")
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        clips.open_clip(name).probe()
    assert os.environ.get(variable) == earlier
    if name == "list.mp4" and not earlier:
        assert cv2.VideoCapture(name).isOpened()  # what OpenCV does by itself


@pytest.mark.parametrize("name", ["tcp:127.0.0.1:9?x.avi", "concat:secret.avi", "a%03d.avi"])
def test_video_clip_takes_its_name_literally(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "secret.avi", 5)
    write_video(tmp_path / "a000.avi", 5)
    with pytest.raises(DataError):
        clips.open_clip(name).probe()
    write_video(tmp_path / "b.avi").rename(name)
    assert clips.open_clip(name).probe() == (12, 48, 64)


def test_video_clip_that_cannot_be_opened_prints_nothing_else(tmp_path):
    (tmp_path / "list.mp4").write_text(PLAYLISTS["list.mp4"])
    program = """
import sys
from data_prep import clips
from tfdeblur.errors import DataError
try:
    clips.open_clip(sys.argv[1]).probe()
except DataError as error:
    print(error)
"""
    words = [sys.executable, "-c", program, str(tmp_path / "list.mp4")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        words, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert "list.mp4" in done.stdout and not done.stderr


def test_video_clip_pipe_raises(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"a\.mp4"):
        clips.open_clip(str(tmp_path / "a.mp4")).probe()


def test_folder_clip_mixed_sizes_or_missing_frames_raises(tmp_path):
    save(tmp_path / "1.png", picture(0))
    path = save(tmp_path / "2.png", picture(0, 41, 30))
    clip = clips.open_clip(str(tmp_path))
    with pytest.raises(DataError, match=r"41x30.*40x30") as caught:
        clip.probe()
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        clip.read(1, 2)
    with pytest.raises(DataError, match="nothing"):
        clips.open_clip(str(tmp_path / "nothing")).read(0, 1)


def test_video_clip_wrong_frame_count_is_corrected(tmp_path, monkeypatch):
    path = str(write_video(tmp_path / "a.avi"))
    real = cv2.VideoCapture

    class Liar:
        def __init__(self, *arguments):
            self._video = real(*arguments)

        def get(self, key):
            return 99 if key == cv2.CAP_PROP_FRAME_COUNT else self._video.get(key)

        def __getattr__(self, name):
            return getattr(self._video, name)

    monkeypatch.setattr(cv2, "VideoCapture", Liar)
    assert clips.open_clip(path).probe()[0] == 12


@pytest.mark.parametrize(
    ("name", "count"), [("bedroom.mp4", 200), ("05_default_juggle.mp4", 247), ("camel", 40)]
)
def test_clip_real_files_seek_exactly(real_data, name, count):
    clip = clips.open_clip(str(real_data / "sequences" / name))
    assert clip.probe()[0] == count
    # The frames do not depend on where reading starts.
    later = clip.read(17, 3)
    np.testing.assert_array_equal(clip.read(16, 3)[1], later[0])
    np.testing.assert_array_equal(clip.read(18, 1)[0], later[1])
