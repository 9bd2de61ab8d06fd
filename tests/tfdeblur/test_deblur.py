"""The deblur command: where photos go, what is left alone, and what failure does."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.helpers import filming
from tfdeblur import deblur
from tfdeblur.config import settings
from tfdeblur.deblur import DeblurConfig, plan_outputs
from tfdeblur.errors import UserError
from tfdeblur.inference import photos
from tfdeblur.inference.restorer import Tiles, load_restorer
from tfdeblur.io import files

RANDOM = np.random.default_rng(11)


def picture(height=12, width=17):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(path, array=None):
    files.make_dirs(files.parent(str(path)))
    photos.write_photo(str(path), photos.Photo(picture() if array is None else array))
    return str(path)


@pytest.fixture
def run_folder(write_run, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    return workdir


def config(**values):
    return settings.validate(DeblurConfig, values)


def test_one_photo_is_restored_into_a_folder_or_a_file(run_folder, tmp_path, capsys):
    photo = put(tmp_path / "in" / "a.png")
    out = str(tmp_path / "out")
    assert deblur.main([photo, "-o", out, "--model", run_folder]) == 0
    assert "1 restored" in capsys.readouterr().out
    wanted = load_restorer(run_folder).deblur(photos.read_photo(photo).pixels)
    np.testing.assert_array_equal(photos.read_photo(f"{out}/a.png").pixels, wanted)
    named = str(tmp_path / "named.png")
    assert deblur.main([photo, "--out", named, "--model", run_folder]) == 0
    np.testing.assert_array_equal(photos.read_photo(named).pixels, wanted)


def test_folders_keep_their_structure_and_other_files_are_ignored(run_folder, tmp_path):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/deep/er/b.jpg")
    (tmp_path / "in/notes.txt").write_text("x")
    out = str(tmp_path / "out")
    result = deblur.run(config(photos=(str(tmp_path / "in"),), out=out, model=run_folder))
    assert files.walk_files(out) == ["a.png", "deep/er/b.jpg"]
    assert sorted(result.written) == [f"{out}/a.png", f"{out}/deep/er/b.jpg"]


def test_finished_photos_are_skipped_unless_overwritten(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    arguments = {"photos": (photo,), "out": out, "model": run_folder}
    deblur.run(config(**arguments))
    files.write_text(f"{out}/a.png", "kept")
    result = deblur.run(config(**arguments))
    assert result.skipped == (f"{out}/a.png",) and not result.written
    assert files.read_text(f"{out}/a.png") == "kept"
    assert deblur.run(config(**arguments, overwrite=True)).written == (f"{out}/a.png",)
    assert photos.read_photo(f"{out}/a.png").pixels.shape == (12, 17, 3)


def test_a_bad_photo_does_not_stop_the_others(run_folder, tmp_path, capsys):
    for name in ("a.png", "c.png"):
        put(tmp_path / "in" / name)
    (tmp_path / "in/b.png").write_bytes(b"\x89PNG broken")
    out = str(tmp_path / "out")
    assert deblur.main([str(tmp_path / "in"), "--out", out, "--model", run_folder]) == 1
    assert files.walk_files(out) == ["a.png", "c.png"]
    captured = capsys.readouterr()
    assert "2 restored" in captured.out
    assert "1 failed" in captured.err and "b.png is not an image" in captured.err


def test_alpha_gray_and_sixteen_bits_come_through(run_folder, tmp_path):
    alpha = RANDOM.integers(0, 256, (10, 11), dtype=np.uint8)
    photos.write_photo(str(tmp_path / "alpha.png"), photos.Photo(picture(10, 11), alpha))
    put(tmp_path / "gray.png", RANDOM.integers(0, 256, (9, 8), dtype=np.uint8))
    put(tmp_path / "deep.png", RANDOM.integers(0, 65536, (9, 8, 3), dtype=np.uint16))
    out = str(tmp_path / "out")
    inputs = tuple(str(tmp_path / f"{name}.png") for name in ("alpha", "gray", "deep"))
    assert not deblur.run(config(photos=inputs, out=out, model=run_folder)).failed
    np.testing.assert_array_equal(photos.read_photo(f"{out}/alpha.png").alpha, alpha)
    assert photos.read_photo(f"{out}/gray.png").pixels.shape == (9, 8)
    deep = photos.read_photo(f"{out}/deep.png").pixels
    assert deep.dtype == np.uint16 and np.any(deep % 257)


def test_a_large_photo_goes_through_tiles(run_folder, tmp_path):
    photo, out = put(tmp_path / "large.png", picture(70, 90)), str(tmp_path / "out")
    arguments = ["--tile", "32", "--overlap", "8", "--max-pixels", "1000"]
    assert deblur.main([photo, "-o", out, "--model", run_folder, *arguments]) == 0
    restorer = load_restorer(run_folder)
    wanted = restorer.deblur(photos.read_photo(photo).pixels, max_pixels=1000, tiles=Tiles(32, 8))
    np.testing.assert_array_equal(photos.read_photo(f"{out}/large.png").pixels, wanted)


def test_photos_and_outputs_may_lie_anywhere(write_run):
    write_run("ram://deblur/run")
    put("ram://deblur/in/a.png")
    result = deblur.run(
        config(photos=("ram://deblur/in",), out="ram://deblur/out", model="ram://deblur/run")
    )
    assert result.written == ("ram://deblur/out/a.png",)
    assert photos.read_photo("ram://deblur/out/a.png").pixels.shape == (12, 17, 3)


def test_several_folders_get_folders_of_their_own(tmp_path):
    for name in ("x/a.png", "y/a.png", "b.gif"):
        files.make_dirs(files.parent(f"{tmp_path}/{name}"))
        Image.fromarray(picture()).save(f"{tmp_path}/{name}")
    inputs = [f"{tmp_path}/x", f"{tmp_path}/y/", f"{tmp_path}/b.gif"]
    assert plan_outputs(inputs, "out") == {
        f"{tmp_path}/x/a.png": "out/x/a.png",
        f"{tmp_path}/y/a.png": "out/y/a.png",
        f"{tmp_path}/b.gif": "out/b.png",
    }


def test_earlier_outputs_inside_the_input_are_no_inputs(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "restored/a.png")
    assert list(plan_outputs([str(tmp_path)], f"{tmp_path}/restored")) == [f"{tmp_path}/a.png"]


def test_originals_are_never_overwritten(tmp_path, monkeypatch):
    photo = put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    (tmp_path / "link").symlink_to(tmp_path)
    for inputs, out in (
        ([photo], str(tmp_path)),
        ([photo], photo),
        ([str(tmp_path)], str(tmp_path)),
        ([photo], str(tmp_path / "link")),
        ([f"{tmp_path}/./a.png"], f"{tmp_path}/link/a.png"),
    ):
        with pytest.raises(UserError, match="would be overwritten"):
            plan_outputs(inputs, out)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="would be overwritten"):
        plan_outputs(["a.png"], os.curdir)


def test_two_photos_never_share_an_output(tmp_path):
    put(tmp_path / "in/a.png")
    Image.fromarray(picture()).save(tmp_path / "in/a.gif")
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    assert plan_outputs([source, f"{source}/"], out) == plan_outputs([source], out)
    assert plan_outputs([source], out) == {
        f"{source}/a.gif": f"{out}/a.gif.png",
        f"{source}/a.png": f"{out}/a.png",
    }
    put(tmp_path / "in/a.gif.png")
    with pytest.raises(UserError, match="both be written"):
        plan_outputs([source], out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(run_folder, tmp_path):
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.mp4")
    given = (str(tmp_path / "a.png"), str(tmp_path / "b.mp4"))
    result = deblur.run(config(photos=given, out=str(tmp_path / "out"), model=run_folder))
    assert [path for path, _ in result.failed] == list(given)


def test_a_photo_that_needs_too_much_memory_is_refused(run_folder, tmp_path, monkeypatch):
    photo, out = put(tmp_path / "a.png"), str(tmp_path / "out")
    monkeypatch.setattr(deblur, "_BYTES_A_PIXEL", 2**50)
    result = deblur.run(config(photos=(photo,), out=out, model=run_folder))
    assert "GiB of memory" in result.failed[0][1]


def test_the_output_is_no_file(tmp_path):
    photo, there = put(tmp_path / "a.png"), tmp_path / "there"
    there.write_text("")
    with pytest.raises(UserError, match="is a file; name a folder"):
        plan_outputs([photo], str(there))


def test_bad_input_is_one_clear_error_before_anything_is_written(run_folder, tmp_path, capsys):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    assert deblur.main(["-o", out, "--model", run_folder]) == 2
    assert "photos" in capsys.readouterr().err
    for arguments, message in (
        ({"photos": (str(tmp_path / "run"),), "out": out}, "No photos and no videos in"),
        ({"photos": (photo, f"{photo}.png"), "out": f"{out}.png"}, "names one file"),
        ({"photos": (photo,), "out": f"{out}.gif"}, "is not written"),
        ({"photos": (photo,), "out": out, "tile": 32, "overlap": 32}, "overlap by 32"),
        ({"photos": (photo,), "out": out, "model": str(tmp_path)}, "no trained network"),
    ):
        with pytest.raises(UserError, match=message):
            deblur.run(config(**{"model": run_folder, **arguments}))
    assert not files.exists(out)
    missing = deblur.run(config(photos=(f"{photo}x",), out=out, model=run_folder))
    assert "does not exist" in missing.failed[0][1]


def test_before_and_after_lie_side_by_side(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.b.png"), str(tmp_path / "out")
    wanted = {"photos": (photo,), "out": out, "model": run_folder}
    result = deblur.run(config(**wanted))
    assert files.walk_files(out) == ["a.b.png"]
    # The picture of both is missing: the photo is not done.
    result = deblur.run(config(**wanted, side_by_side=True))
    assert result.written == (f"{out}/a.b.png",)
    assert files.walk_files(out) == ["a.b.before-after.png", "a.b.png"]
    both = photos.read_photo(f"{out}/a.b.before-after.png").pixels
    np.testing.assert_array_equal(both[:, :17], photos.read_photo(photo).pixels)
    np.testing.assert_array_equal(both[:, 17:], photos.read_photo(f"{out}/a.b.png").pixels)
    assert deblur.run(config(**wanted, side_by_side=True)).skipped == (f"{out}/a.b.png",)


def test_pictures_of_both_overwrite_nothing(run_folder, tmp_path):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/a.before-after.png")
    wanted = {"photos": (str(tmp_path / "in"),), "model": run_folder}
    with pytest.raises(UserError, match=r"would both be written to .*a\.before-after\.png"):
        deblur.run(config(**wanted, out=str(tmp_path / "out"), side_by_side=True))


def test_an_ensemble_by_the_flag(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    assert deblur.main([photo, "-o", out, "--model", run_folder, "--ensemble"]) == 0
    wanted = load_restorer(run_folder, ensemble=True).deblur(photos.read_photo(photo).pixels)
    np.testing.assert_array_equal(photos.read_photo(f"{out}/a.png").pixels, wanted)


def test_a_window_for_a_network_that_does_not_pool(run_folder, tmp_path, capsys):
    photo = put(tmp_path / "in/a.png")
    words = [photo, "-o", str(tmp_path / "out"), "--model", run_folder, "--tlc"]
    assert deblur.main([*words, "32"]) == 2
    assert "unet16 has no pooling" in capsys.readouterr().err
    assert deblur.main([*words, "off"]) == 0


def test_videos_among_photos(run_folder, tmp_path, capsys):
    source = str(tmp_path / "in")
    put(tmp_path / "in/a.png")
    filming.make(f"{source}/b.mp4", size=(32, 48), count=3)
    files.write_bytes(f"{source}/c.mp4", b"no video")
    out = str(tmp_path / "out")
    arguments = [source, "-o", out, "--model", run_folder, "--side-by-side"]
    assert deblur.main(arguments) == 1
    assert "c.mp4 is not a video" in capsys.readouterr().err
    assert files.walk_files(out) == [
        "a.before-after.png",
        "a.png",
        "b.before-after.mp4",
        "b.mp4",
    ]
    assert filming.frames_of(f"{out}/b.mp4")[0].shape == (3, 32, 48, 3)
    assert filming.frames_of(f"{out}/b.before-after.mp4")[0].shape == (3, 32, 96, 3)
    assert filming.sound_of(f"{out}/b.mp4") == filming.sound_of(f"{source}/b.mp4")


def test_a_photo_is_no_video(tmp_path):
    for given, out, message in (
        ("a.png", "b.mp4", "is a video, and a.png is none"),
        ("a.mp4", "b.png", "is a photo, and a.mp4 is none"),
        ("a.mp4", "b.avi", "try .mkv"),
    ):
        with pytest.raises(UserError, match=message):
            plan_outputs([given], out)
    assert plan_outputs(["a.avi"], str(tmp_path)) == {"a.avi": f"{tmp_path}/a.mkv"}
