"""Windows of clips: frames, averages, and warnings about motion."""

import numpy as np
import pytest

from data_prep import build as command
from data_prep.sources import frames
from tests.helpers.raw_data import picture, save, write_video
from tfdeblur.data.schema import Manifest
from tfdeblur.errors import ConfigError, DataError

cv2 = pytest.importorskip("cv2")


def make(root, **options):
    chosen = {"val_share": 0.0, "test_share": 0.0, "max_motion": 1e9, **options}
    return frames.build(frames.Options(source=str(root), **chosen))


def save_clip(folder, count, speed=0, width=64, height=48):
    """Writes frames of an image that moves right by `speed` pixels per frame."""
    wide = cv2.GaussianBlur(picture(5, width + 2 * 64, height), (0, 0), 1.5)
    for number in range(count):
        left = 64 - round(speed * number) % 64
        save(folder / f"{number}.png", wide[:, left : left + width])
    return folder


@pytest.fixture
def clips(tmp_path):
    """Folders a and deep/b of 30 and 27 frames, and a video v of 12."""
    save_clip(tmp_path / "clips" / "a", 30)
    save_clip(tmp_path / "clips" / "deep" / "b", 27)
    write_video(tmp_path / "clips" / "v.avi")
    (tmp_path / "clips" / "readme.txt").write_text("")
    return tmp_path / "clips"


def middles(found, scene):
    items = [item for items in found.splits.values() for item in items]
    return [int(item.frame) for item in items if item.scene == scene]


def test_frames_windows_are_inside_clip_without_overlap(clips):
    found = make(clips).listing()
    assert found.layout == "clips, folders of frames: 2, videos: 0"
    assert middles(found, "a") == [6, 19] and middles(found, "deep/b") == [6, 19]
    (note,) = found.notes
    assert "13 frames: 1 (v)" in note
    found = make(clips, window=(3, 5)).listing()
    assert found.layout == "clips, folders of frames: 2, videos: 1"
    assert middles(found, "v") == [2, 7] and not found.notes
    item = found.splits["train"][0]
    assert (item.key, item.width, item.height) == ("a/000002", 64, 48)
    assert middles(make(clips, window=(3,), step=2).listing(), "v") == [1, 3, 5, 7, 9]


def test_frames_with_interpolation_need_fewer_frames(clips):
    # 13 moments, of which three in four are interpolated: two frames on each side.
    assert middles(make(clips, interpolate=3).listing(), "v") == [2, 7]


def test_frames_single_video_or_folder_is_a_clip(clips):
    assert set(middles(make(clips / "v.avi", window=(3,)).listing(), "v")) == {1, 4, 7, 10}
    assert middles(make(clips / "a").listing(), "a") == [6, 19]


def test_frames_clips_are_scenes(clips):
    found = make(clips, window=(3,), test_scenes=("b",), val_scenes=("v",)).listing()
    assert {name: {i.scene for i in items} for name, items in found.splits.items()} == {
        "train": {"a"},
        "val": {"v"},
        "test": {"deep/b"},
    }


@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_frames_load_averages_in_light_and_returns_middle_frame(clips, gamma):
    source = make(clips / "v.avi", window=(5,), gamma=gamma)
    item = source.listing().splits["train"][0]
    blurred, sharp = source.load(item)
    values = [frames.open_clip(item.sharp).read(n, 1)[0] for n in range(5)]
    np.testing.assert_array_equal(sharp, values[2])
    light = np.mean([(value / 255.0) ** gamma for value in values], 0)
    np.testing.assert_allclose(blurred, 255 * light ** (1 / gamma), atol=0.51)
    if gamma > 1:
        assert blurred.mean() > sharp.mean() + 1
    assert source.describe_blur()["gamma"] == gamma


def test_frames_windows_depend_on_seed_and_key(tmp_path):
    clip = save_clip(tmp_path / "a", 60, speed=2)
    save_clip(tmp_path / "b", 60, speed=2)

    def loaded(root, **options):
        source = make(root, window=(3, 9), **options)
        return {item.key: source.load(item)[0] for item in source.listing().splits["train"]}

    first, again, alone = loaded(tmp_path), loaded(tmp_path), loaded(clip)
    for key, blurred in first.items():
        np.testing.assert_array_equal(blurred, again[key])
    for key, blurred in alone.items():
        np.testing.assert_array_equal(blurred, first[key])
    other = loaded(tmp_path, seed=1)
    assert any((other[key] != first[key]).any() for key in first)
    # Both window lengths are drawn: the two clips differ only in their names.
    assert any((first[f"a/{n}"] != first[f"b/{n}"]).any() for n in ("000004", "000013", "000022"))


def test_average_with_interpolation_has_no_ghosts(tmp_path):
    save_clip(tmp_path / "fast", 41, speed=4)
    save_clip(tmp_path / "slow", 41, speed=1)
    target = frames.average(frames.open_clip(str(tmp_path / "slow")).read(2, 9), 4, 1, 2.2)
    fast = frames.open_clip(str(tmp_path / "fast")).read(0, 3)
    # Align the two windows, whose middle frames have different offsets.
    made = frames.average(fast, 4, 4, 2.2)
    ghosts = frames.average(fast, 1, 1, 2.2)
    place = np.s_[4:-4, 10:-14]
    moved = np.roll(target, -2, axis=1)

    def error(image):
        return np.abs(image.astype(float) - moved)[place].mean()

    assert error(made) < 1.5 and error(made) < error(ghosts) / 1.5


def test_frames_fast_clip_adds_warning(tmp_path):
    save_clip(tmp_path / "fast", 30, speed=6, width=160, height=120)
    save_clip(tmp_path / "still", 30, width=160, height=120)
    (note,) = make(tmp_path, max_motion=3.0).listing().notes
    assert note.startswith("WARNING: motion in fast") and "median 6.0" in note
    assert "--interpolate 2" in note or "--interpolate 1" in note
    assert not make(tmp_path, max_motion=3.0, interpolate=3).listing().notes


def test_frames_many_fast_clips_share_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "_MAX_WARNINGS", 1)
    for name in "abc":
        save_clip(tmp_path / name, 14, speed=6, width=96)
    notes = make(tmp_path, max_motion=1.0).listing().notes
    assert len(notes) == 2 and notes[1].startswith("WARNING") and "2 more clips" in notes[1]


def test_frames_unusable_input_raises(clips, tmp_path):
    with pytest.raises(ConfigError, match="--window 8"):
        make(clips, window=(7, 8))
    with pytest.raises(DataError, match=r"clips.*101 frames"):
        make(clips, window=(101,)).listing()
    with pytest.raises(DataError, match=r"empty.*readme\.txt"):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "readme.txt").write_text("")
        make(tmp_path / "empty").listing()
    with pytest.raises(DataError, match="nothing"):
        make(tmp_path / "nothing").listing()
    write_video(clips / "a.avi")
    with pytest.raises(DataError, match=r"a\.avi.*'a'"):
        make(clips).listing()


def test_frames_build_writes_manifest(clips, tmp_path, capsys):
    out = str(tmp_path / "out")
    words = ["frames", "--source", str(clips), "--out", out, "--window", "3", "5", "--workers", "2"]
    words += ["--tile", "32x24", "--test-scenes", "b", "--val-share", "0", "--encoding", "raw"]
    words += ["--max-motion", "1000"]
    assert command.main(words) == 0
    manifest = Manifest.load(out)
    assert manifest.blur["kind"] == "frames" and manifest.blur["window"] == [3, 5]
    assert manifest.split("train").scenes == ("a", "v")
    assert manifest.split("test").scenes == ("deep/b",)
    assert "Layout: clips, folders of frames: 2, videos: 1." in capsys.readouterr().out


def test_frames_real_clip_has_plausible_blur(real_data):
    source = make(real_data / "sequences", max_motion=3.0, interpolate=7, scenes=("camel",))
    found = source.listing()
    item = found.splits["train"][0]
    assert (item.width, item.height) == (854, 480) and not found.notes
    blurred, sharp = source.load(item)
    assert 20 < 10 * np.log10(255**2 / np.mean((blurred.astype(float) - sharp) ** 2)) < 40
