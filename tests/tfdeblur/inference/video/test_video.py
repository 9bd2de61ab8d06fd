"""Videos: everything but the pixels is kept, and damage is reported."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.filming import RATE, av, frames_of, make, scene, seconds_of_sound, sound_of
from tfdeblur.errors import UserError
from tfdeblur.inference import video
from tfdeblur.inference.video import writing
from tfdeblur.io import files, videos

EXACT = ("libx264", {"qp": "0", "preset": "ultrafast"})


def same(pixels):
    return pixels


def check_same(one, other, share=0.02):
    """Compares frames converted to RGB and back, where clipped colors may change slightly."""
    assert one.shape == other.shape
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 2 and np.mean(difference > 0) <= share


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_rewrite_keeps_frames_times_audio_and_metadata(tmp_path, name):
    path, out = make(str(tmp_path / name), times=[0, 1, 2, 5, 6, 11]), str(tmp_path / "out" / name)
    video.rewrite(path, out, same)
    (before, times), (after, kept) = frames_of(path), frames_of(out)
    assert kept == pytest.approx(times, abs=1e-3)
    assert np.abs(before.astype(float) - after).mean() < 2
    written, original = sound_of(out), sound_of(path)
    assert [data for data, _ in written] == [data for data, _ in original] and len(original) > 5
    assert [at for _, at in written] == pytest.approx([at for _, at in original], abs=1e-3)
    with av.open(out) as container, av.open(path) as source:
        assert container.metadata["title"] == "A title"
        # QuickTime has its own language codes, which PyAV does not translate.
        assert container.streams.audio[0].language == source.streams.audio[0].language
        assert name == "a.mov" or container.streams.audio[0].language == "deu"
    assert files.walk_files(str(tmp_path / "out")) == [name]


@pytest.mark.parametrize("full", [False, True])
def test_rewrite_with_a_lossless_encoder_keeps_colors(tmp_path, monkeypatch, full):
    path, out = make(str(tmp_path / "a.mp4"), kind="yuv444p", full=full), str(tmp_path / "b.mp4")
    monkeypatch.setattr(writing, "_X264", EXACT)
    video.rewrite(path, out, same)
    # FFmpeg rounds full-range chroma down, by half a step on average.
    check_same(frames_of(out)[0], frames_of(path)[0], share=1.0 if full else 0.02)
    with av.open(out) as container:
        assert container.streams.video[0].codec_context.color_range == (2 if full else 0)


def test_rewrite_of_an_rgb_video_keeps_colors(tmp_path, monkeypatch):
    path, out = str(tmp_path / "a.mkv"), str(tmp_path / "b.mkv")
    make(path, codec="ffv1", kind="bgr0", sound=None)
    monkeypatch.setattr(writing, "_X264", EXACT)
    video.rewrite(path, out, same)
    np.testing.assert_array_equal(frames_of(path)[0], scene(64, 96, 6))
    check_same(frames_of(out)[0], scene(64, 96, 6), share=0.5)
    with av.open(out) as container:
        assert container.streams.video[0].pix_fmt == "yuv444p"


def test_rewrite_writes_changed_frames_and_side_by_side_frames(tmp_path, monkeypatch):
    path, out = make(str(tmp_path / "a.mp4"), kind="yuv444p"), str(tmp_path / "b.mp4")
    monkeypatch.setattr(writing, "_X264", EXACT)
    shapes = []

    def darker(pixels):
        shapes.append(pixels.shape)
        assert pixels.dtype == np.uint8
        return pixels // 2

    side = str(tmp_path / "side.mp4")
    video.rewrite(path, out, darker, side=side, pixels_at_once=4 * 64 * 96)
    assert shapes == [(4, 64, 96, 3), (2, 64, 96, 3)]
    before, after, both = frames_of(path)[0], frames_of(out)[0], frames_of(side)[0]
    assert np.abs(after.astype(int) - before // 2).max() <= 2
    assert np.abs(both[:, :, :96].astype(int) - before).max() <= 2
    assert np.abs(both[:, :, 96:].astype(int) - after).max() <= 2
    with av.open(side) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rewrite_of_a_rotated_video_writes_upright_frames(tmp_path, monkeypatch, degrees):
    path = make(str(tmp_path / "a.mp4"), kind="yuv444p", rotation=degrees, sound=None)
    out = str(tmp_path / "b.mp4")
    monkeypatch.setattr(writing, "_X264", EXACT)
    video.rewrite(path, out, same)
    stored, written = frames_of(path)[0], frames_of(out)[0]
    # FFmpeg counts rotations counterclockwise, as NumPy does.
    check_same(written, np.rot90(stored, degrees // 90, axes=(1, 2)))
    with av.open(out) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_rewrite_of_a_mirrored_video_follows_its_display_matrix(tmp_path, monkeypatch):
    path, out = str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=EXACT[1])
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p"
        stream.set_display_rotation(90, hflip=True)
        for pixels in scene(32, 48, 2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    monkeypatch.setattr(writing, "_X264", EXACT)
    video.rewrite(path, out, same)
    stored, written = frames_of(path)[0], frames_of(out)[0]
    with av.open(path) as container:
        data = next(container.decode(video=0)).side_data["DISPLAYMATRIX"]
    matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / 65536
    # Positions of the corners by the matrix: (x, y) times it, shifted into the image.
    corners = np.array([[0, 0], [47, 0], [0, 31], [47, 31]]) @ matrix
    corners = np.rint(corners - corners.min(axis=0)).astype(int)
    for (x, y), (row, column) in zip(corners, [(0, 0), (0, 47), (31, 0), (31, 47)], strict=True):
        check_same(written[0, y, x], stored[0, row, column])


def test_rewrite_of_ten_bits_keeps_them(tmp_path):
    path, out = make(str(tmp_path / "a.mkv"), kind="yuv420p10le"), str(tmp_path / "b.mkv")
    kinds = set()

    def look(pixels):
        kinds.add(pixels.dtype)
        return pixels

    video.rewrite(path, out, look)
    assert kinds == {np.dtype(np.uint16)}
    with av.open(out) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("hevc", "yuv420p10le")
    assert np.abs(frames_of(path)[0].astype(float) - frames_of(out)[0]).mean() < 2


def test_rewrite_of_odd_sizes_and_other_containers_succeeds(tmp_path):
    odd = make(str(tmp_path / "odd.mkv"), size=(33, 51), codec="ffv1", kind="yuv420p")
    video.rewrite(odd, str(tmp_path / "out.mkv"), same)
    assert frames_of(str(tmp_path / "out.mkv"))[0].shape == (6, 33, 51, 3)
    old = make(str(tmp_path / "old.avi"), codec="mpeg4", sound=None)
    assert video.written_name("dir.x/old.AVI") == "dir.x/old.mkv"
    video.rewrite(old, str(tmp_path / "old.mkv"), same)
    _, times = frames_of(str(tmp_path / "old.mkv"))
    assert times == pytest.approx(np.arange(6) / RATE, abs=2e-3)
    web = make(str(tmp_path / "a.webm"), codec="libvpx-vp9", sound=None)
    video.rewrite(web, str(tmp_path / "b.webm"), same)
    with av.open(str(tmp_path / "b.webm")) as container:
        assert container.streams.video[0].codec_context.name == "vp9"


FOUND = [
    # Container, codecs of video and sound, and the codec of the sound in other containers.
    ("avi", "libx264", "pcm_s16le", {"mkv": "pcm_s16le", "mp4": "aac", "mov": "pcm_s16le"}),
    ("avi", "libx264", "libmp3lame", {"mkv": "mp3", "mp4": "mp3", "webm": "opus"}),
    ("avi", "libx264", None, {"mkv": None, "mp4": None, "webm": None}),
    ("avi", "mpeg4", "libmp3lame", {"mp4": "mp3", "mov": "mp3"}),
    ("mkv", "libx264", "pcm_s16le", {"mp4": "aac", "webm": "opus"}),
    ("mkv", "libx264", "flac", {"mp4": "flac", "mov": "aac", "webm": "opus"}),
    ("mkv", "ffv1", "libopus", {"mp4": "opus", "mov": "aac", "webm": "opus"}),
    ("mkv", "libvpx-vp9", "aac", {"mkv": "aac", "mp4": "aac", "webm": "opus"}),
    ("mov", "libx264", "pcm_s16le", {"mov": "pcm_s16le", "mp4": "aac", "mkv": "pcm_s16le"}),
    ("mp4", "libx265", "aac", {"mp4": "aac", "mkv": "aac", "webm": "opus"}),
    ("webm", "libvpx-vp9", "libopus", {"webm": "opus", "mp4": "opus", "mov": "aac"}),
    ("mpg", "mpeg1video", "mp2", {"mkv": "mp2", "mp4": "aac"}),
    ("vob", "mpeg2video", "mp2", {"mkv": "mp2"}),
    ("ts", "libx264", "aac", {"mkv": "aac", "mp4": "aac"}),
    ("m2ts", "libx264", "ac3", {"mkv": "ac3"}),
    ("flv", "libx264", "aac", {"mkv": "aac"}),
    ("flv", "flv1", "libmp3lame", {"mkv": "mp3"}),
    ("wmv", "wmv2", "libmp3lame", {"mkv": "mp3"}),
    ("ogv", "libvpx", "flac", {"mkv": "flac"}),
    ("3gp", "libx264", "aac", {"mkv": "aac"}),
]


def test_names_of_videos_are_those_of_opened_containers():
    for suffix in videos.SUFFIXES:
        assert video.is_video(f"a{suffix.upper()}")
        assert video.written_name(f"a{suffix}") in (f"a{suffix}", "a.mkv")
    for name in videos.FORMATS.split(","):
        assert av.ContainerFormat(name, "r").is_input


@pytest.mark.parametrize(("kind", "codec", "sound", "outputs"), FOUND)
def test_rewrite_into_other_containers_keeps_frames_and_sound(
    tmp_path, capsys, kind, codec, sound, outputs
):
    path = make(str(tmp_path / f"a.{kind}"), codec=codec, sound=sound, count=12)
    _, times = frames_of(path)
    with av.open(path) as container:
        names = [stream.codec.canonical_name for stream in container.streams.audio]
    for ending, expected in outputs.items():
        out = str(tmp_path / f"out.{ending}")
        video.rewrite(path, out, same)
        frames, after = frames_of(out)
        assert len(frames) == 12
        assert np.diff(after) == pytest.approx(np.diff(times), abs=2e-3)
        with av.open(out) as container:
            found = [stream.codec.canonical_name for stream in container.streams.audio]
        assert found == ([expected] if expected else [])
        assert ("encoded as" in capsys.readouterr().out) == (found != names)
        if expected:
            assert seconds_of_sound(out) == pytest.approx(seconds_of_sound(path), abs=0.08)


def test_rewrite_of_subtitles_that_do_not_fit_drops_them_with_a_warning(tmp_path, capsys):
    script = str(tmp_path / "a.srt")
    files.write_text(script, "1\n00:00:00,000 --> 00:00:00,200\nA line\n")
    path, out = make(str(tmp_path / "a.mkv"), subtitles=script), str(tmp_path / "out.mp4")
    video.rewrite(path, str(tmp_path / "out.mkv"), same)
    assert not capsys.readouterr().out
    video.rewrite(path, out, same)
    assert "out.mp4 does not support the subtitle stream" in capsys.readouterr().out
    with av.open(out) as container, av.open(str(tmp_path / "out.mkv")) as other:
        assert not container.streams.subtitles and len(container.streams.audio) == 1
        assert len(other.streams.subtitles) == 1


def test_rewrite_of_damaged_videos_names_them_and_leaves_no_output(tmp_path):
    whole = make(str(tmp_path / "whole.mp4"), count=60)
    fast = str(tmp_path / "fast.mp4")
    video.rewrite(whole, fast, same)
    data = files.read_bytes(fast)
    out = str(tmp_path / "out.mp4")
    for content, message in (
        (data[: len(data) // 2], "truncated"),
        (data[:200], "no video"),
        (b"", "not a readable video"),
        (b"no video", "not a readable video"),
    ):
        path = str(tmp_path / "bad.mp4")
        files.write_bytes(path, content)
        with pytest.raises(UserError, match=rf"bad\.mp4 .*{message}"):
            video.rewrite(path, out, same)
    with pytest.raises(UserError, match=r"missing\.mp4"):
        video.rewrite(str(tmp_path / "missing.mp4"), out, same)
    container = av.open(whole)
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as silent:
        stream = silent.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(audio=0):
            if packet.size:
                packet.stream = stream
                silent.mux(packet)
    container.close()
    with pytest.raises(UserError, match=r"sound\.m4a"):
        video.rewrite(str(tmp_path / "sound.m4a"), out, same)
    left = set(files.walk_files(str(tmp_path)))
    assert left == {"whole.mp4", "fast.mp4", "bad.mp4", "sound.m4a"}


def test_rewrite_of_sound_of_an_unknown_codec_drops_it_with_a_warning(tmp_path, capsys):
    path, out = make(str(tmp_path / "a.mp4")), str(tmp_path / "out.mp4")
    # The codec is named twice.
    data = files.read_bytes(path).replace(b"mp4a", b"zzzz").replace(b"\x40\x15", b"\xff\x15")
    files.write_bytes(path, data)
    with av.open(path) as container:
        assert container.streams.audio[0].codec_context is None
    video.rewrite(path, out, same)
    assert "audio stream" in capsys.readouterr().out
    with av.open(out) as container:
        assert not container.streams.audio and len(list(container.decode(video=0))) == 6


def test_rewrite_frames_larger_than_the_limit_raise(tmp_path, monkeypatch):
    path, out = make(str(tmp_path / "a.mp4"), size=(32, 48)), str(tmp_path / "out.mp4")
    monkeypatch.setattr(videos, "MAX_PIXELS", 32 * 48 - 1)
    with pytest.raises(UserError, match=r"a\.mp4.*48x32"):
        video.rewrite(path, out, same)
    assert not files.exists(out)


def test_rewrite_opens_no_other_file_or_host(tmp_path, monkeypatch):
    make(str(tmp_path / "secret.mp4"))
    monkeypatch.chdir(tmp_path)
    scripts = {
        "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "list.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "session.mov": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    }
    for name, text in scripts.items():
        files.write_text(name, text)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            video.rewrite(name, "out.mp4", same)
    with av.open("list.mp4") as container:
        assert len(list(container.decode(video=0))) == 6  # what FFmpeg does by itself
    for name in ("tcp:127.0.0.1:9?x.mp4", "concat:secret.mp4", "file:secret.mp4"):
        with pytest.raises(UserError, match="does not exist"):
            video.rewrite(name, "out.mp4", same)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ["tcp:127.0.0.1:9?x.mp4", "concat:a.mp4", "a%03d.mp4"])
def test_rewrite_takes_names_literally(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    files.write_bytes(name, files.read_bytes(make("source.mp4", sound=None)))
    files.make_dirs("out")
    monkeypatch.chdir(tmp_path / "out")
    video.rewrite(f"../{name}", name, same)
    assert files.walk_files(".") == [name]


def test_rewrite_with_a_failing_change_keeps_the_earlier_output(tmp_path):
    path, out = make(str(tmp_path / "a.mp4")), str(tmp_path / "out.mp4")
    files.write_text(out, "older")

    def fails(pixels):
        raise UserError("no memory")

    with pytest.raises(UserError, match="no memory"):
        video.rewrite(path, out, fails)
    assert files.read_text(out) == "older"
    assert set(files.walk_files(str(tmp_path))) == {"a.mp4", "out.mp4"}


def test_rewrite_by_two_processes_to_one_output_writes_an_intact_video(tmp_path):
    path, out = make(str(tmp_path / "a.mp4"), count=60), str(tmp_path / "out" / "b.mp4")
    # Each process waits after its first frames until the other has written some as well.
    program = f"""
import pathlib, sys, time
from tfdeblur.inference import video

def slow(pixels):
    pathlib.Path({str(tmp_path)!r}, "ready" + sys.argv[1]).touch()
    while len(list(pathlib.Path({str(tmp_path)!r}).glob("ready*"))) < 2:
        time.sleep(0.01)
    time.sleep(0.01)
    return pixels

video.rewrite({path!r}, {out!r}, slow)
"""
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "12"]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert files.walk_files(str(tmp_path / "out")) == ["b.mp4"]
    written, times = frames_of(out)
    assert times == pytest.approx(frames_of(path)[1], abs=1e-3)
    assert np.abs(frames_of(path)[0].astype(float) - written).mean() < 2
    assert sound_of(out) == sound_of(path)


def test_rewrite_reads_and_writes_other_file_systems(tmp_path):
    data = files.read_bytes(make(str(tmp_path / "a.mp4")))
    files.write_bytes("ram://videos/in/a.mp4", data)
    video.rewrite("ram://videos/in/a.mp4", "ram://videos/out/a.mp4", same)
    files.write_bytes(str(tmp_path / "b.mp4"), files.read_bytes("ram://videos/out/a.mp4"))
    assert len(frames_of(str(tmp_path / "b.mp4"))[0]) == 6
    assert files.walk_files("ram://videos/out") == ["a.mp4"]


def test_rewrite_without_pyav_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"tfdeblur\[video\]"):
        video.rewrite(str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), same)


def test_rewrite_of_metadata_that_is_not_text_replaces_it(tmp_path):
    path, out = make(str(tmp_path / "a.mp4")), str(tmp_path / "b.mp4")
    files.write_bytes(path, files.read_bytes(path).replace(b"A title", b"\xff title"))
    video.rewrite(path, out, same)
    with av.open(out) as container:
        assert container.metadata["title"].endswith(" title")
