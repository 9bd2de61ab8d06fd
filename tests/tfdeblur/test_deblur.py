"""The deblur command: output paths, skipped files, and failures."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFile

from tests.helpers import filming
from tfdeblur import deblur, presets
from tfdeblur.config import settings
from tfdeblur.deblur import DeblurConfig, plan_outputs
from tfdeblur.errors import UserError
from tfdeblur.inference import photo_files
from tfdeblur.inference.restorer import load_restorer
from tfdeblur.inference.tiles import Tiles
from tfdeblur.io import files

RANDOM = np.random.default_rng(11)


def picture(height=12, width=17):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(path, array=None):
    files.make_dirs(files.parent(str(path)))
    photo_files.write_photo(str(path), photo_files.Photo(picture() if array is None else array))
    return str(path)


@pytest.fixture
def run_folder(write_run, tmp_path):
    workdir = str(tmp_path / "run")
    write_run(workdir)
    return workdir


def config(**values):
    return settings.validate(DeblurConfig, values)


def test_deblur_of_one_photo_writes_a_folder_or_a_file(run_folder, tmp_path, capsys):
    photo = put(tmp_path / "in" / "a.png")
    out = str(tmp_path / "out")
    assert deblur.main([photo, "-o", out, "--model", run_folder]) == 0
    assert "1 restored" in capsys.readouterr().out
    expected = load_restorer(run_folder).deblur(photo_files.read_photo(photo).pixels)
    np.testing.assert_array_equal(photo_files.read_photo(f"{out}/a.png").pixels, expected)
    named = str(tmp_path / "named.png")
    assert deblur.main([photo, "--out", named, "--model", run_folder]) == 0
    np.testing.assert_array_equal(photo_files.read_photo(named).pixels, expected)


def test_deblur_of_a_folder_keeps_its_structure_and_ignores_other_files(run_folder, tmp_path):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/deep/er/b.jpg")
    (tmp_path / "in/notes.txt").write_text("x")
    out = str(tmp_path / "out")
    result = deblur.run(config(photos=(str(tmp_path / "in"),), out=out, model=run_folder))
    assert files.walk_files(out) == ["a.png", "deep/er/b.jpg"]
    assert sorted(result.written) == [f"{out}/a.png", f"{out}/deep/er/b.jpg"]


def test_deblur_with_existing_outputs_skips_them_unless_overwrite(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    arguments = {"photos": (photo,), "out": out, "model": run_folder}
    deblur.run(config(**arguments))
    files.write_text(f"{out}/a.png", "kept")
    result = deblur.run(config(**arguments))
    assert result.skipped == (f"{out}/a.png",) and not result.written
    assert files.read_text(f"{out}/a.png") == "kept"
    assert deblur.run(config(**arguments, overwrite=True)).written == (f"{out}/a.png",)
    assert photo_files.read_photo(f"{out}/a.png").pixels.shape == (12, 17, 3)


def test_deblur_with_a_damaged_photo_restores_the_others(run_folder, tmp_path, capsys):
    for name in ("a.png", "c.png"):
        put(tmp_path / "in" / name)
    (tmp_path / "in/b.png").write_bytes(b"\x89PNG broken")
    out = str(tmp_path / "out")
    assert deblur.main([str(tmp_path / "in"), "--out", out, "--model", run_folder]) == 1
    assert files.walk_files(out) == ["a.png", "c.png"]
    captured = capsys.readouterr()
    assert "2 restored" in captured.out
    assert "1 failed" in captured.err and "b.png" in captured.err


def test_deblur_with_an_unexpected_error_writes_its_traceback(
    run_folder, tmp_path, capsys, monkeypatch
):
    for name in ("a.png", "b.png"):
        put(tmp_path / "in" / name)
    read = photo_files.read_photo

    def fails(path, check):
        if path.endswith("a.png"):
            raise KeyError("surprise")
        return read(path, check)

    monkeypatch.setattr(photo_files, "read_photo", fails)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = str(tmp_path / "out")
    assert deblur.main([str(tmp_path / "in"), "--out", out, "--model", run_folder]) == 1
    assert files.walk_files(out) == ["b.png"]
    (report,) = tmp_path.glob("tfdeblur-*.txt")
    assert "in fails" in report.read_text()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "a.png" in line]
    assert "KeyError" in line and "surprise" in line and str(report) in line


@pytest.mark.slow
def test_deblur_with_closed_standard_streams_restores_intact_photos(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    words = [sys.executable, "-m", "tfdeblur.deblur", photo, "-o", out, "--model", run_folder]
    for closed in ("2>&-", ">&- 2>&- <&-"):
        done = subprocess.run(["sh", "-c", f"exec {shlex.join([*words, '--overwrite'])} {closed}"])
        assert done.returncode == 0
        expected = load_restorer(run_folder).deblur(photo_files.read_photo(photo).pixels)
        np.testing.assert_array_equal(photo_files.read_photo(f"{out}/a.png").pixels, expected)


@pytest.mark.slow
def test_deblur_removes_the_partial_files_of_a_killed_one_and_no_others(run_folder, tmp_path):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/deep/b.png")
    out = str(tmp_path / "out")
    program = (
        "import os, signal, sys\nfrom tfdeblur import deblur\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\ndeblur.main(sys.argv[1:])"
    )
    words = [str(tmp_path / "in/deep/b.png"), "-o", f"{out}/deep", "--model", run_folder]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = files.walk_files(out)
    assert left.endswith(files.PARTIAL_SUFFIX)
    files.write_text(f"{out}/notes.txt.0123abcd.partial", "theirs")
    with files.open_new(f"{out}/c.png") as file:
        deblur.run(config(photos=(str(tmp_path / "in"),), out=out, model=run_folder))
        file.write(b"of another process")
    assert files.walk_files(out) == ["a.png", "c.png", "deep/b.png", "notes.txt.0123abcd.partial"]


def test_identity_of_a_video_depends_on_the_weights_of_a_saved_model(tmp_path, monkeypatch):
    class Scaled(tf.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = tf.Variable(factor)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def __call__(self, images):
            return images * self.factor

    def identity_of(factor, name):
        path, module = str(tmp_path / name), Scaled(factor)
        # Of another origin: it has no description.
        tf.saved_model.save(module, path, signatures=module.__call__)
        identities = []
        monkeypatch.setattr(
            deblur.video, "rewrite", lambda *_, identity, **__: identities.append(identity)
        )
        movie = str(tmp_path / "a.mp4")
        files.write_bytes(movie, b"")
        result = deblur.run(config(photos=(movie,), out=str(tmp_path / f"out-{name}"), model=path))
        assert not result.failed
        return identities[0] | {"network": ""}

    assert identity_of(0.5, "first") != identity_of(0.25, "second")


@pytest.mark.slow
def test_deblur_of_a_video_resumes_with_the_frames_of_a_killed_one(run_folder, tmp_path):
    movie, out = filming.make(str(tmp_path / "a.mp4"), size=(64, 96), count=6), tmp_path / "out"
    program = (
        "import os, signal, sys\nfrom tfdeblur import deblur\n"
        "from tfdeblur.inference.video.kept_frames import KeptFrames\n"
        "keep = KeptFrames.keep\n"
        "def told(self, first, frames):\n"
        "    keep(self, first, frames)\n"
        "    print('kept', first, flush=True)\n"
        "    if sys.argv[1] == 'die':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "KeptFrames.keep = told\n"
        "sys.exit(deblur.main(sys.argv[2:]))\n"
    )
    # Two frames at once.
    words = [movie, "-o", str(out), "--model", run_folder, "--max-pixels", str(2 * 64 * 96)]

    def kept(end):
        command = [sys.executable, "-c", program, end, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        return done, [int(line.split()[1]) for line in lines if line.startswith("kept ")]

    done, frames = kept("die")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert frames == [0]
    assert sorted(os.listdir(out / ".a.mp4.frames")) == ["000000000000", "identity.json"]
    done, frames = kept("live")
    assert done.returncode == 0, done.stderr
    assert frames == [2, 4]
    assert os.listdir(out) == ["a.mp4"]
    assert filming.frames_of(str(out / "a.mp4"))[0].shape == (6, 64, 96, 3)
    assert filming.sound_of(str(out / "a.mp4")) == filming.sound_of(movie)


def test_plan_outputs_of_a_folder_ignores_hidden_files(tmp_path):
    put(tmp_path / "a.jpg")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")  # resource fork of macOS
    hidden = put(tmp_path / ".b.png")
    assert list(plan_outputs([str(tmp_path)], "out")) == [f"{tmp_path}/a.jpg"]
    assert plan_outputs([hidden], "out") == {hidden: "out/.b.png"}


def test_deblur_keeps_alpha_gray_and_sixteen_bits(run_folder, tmp_path):
    alpha = RANDOM.integers(0, 256, (10, 11), dtype=np.uint8)
    photo_files.write_photo(str(tmp_path / "alpha.png"), photo_files.Photo(picture(10, 11), alpha))
    put(tmp_path / "gray.png", RANDOM.integers(0, 256, (9, 8), dtype=np.uint8))
    put(tmp_path / "deep.png", RANDOM.integers(0, 65536, (9, 8, 3), dtype=np.uint16))
    out = str(tmp_path / "out")
    inputs = tuple(str(tmp_path / f"{name}.png") for name in ("alpha", "gray", "deep"))
    assert not deblur.run(config(photos=inputs, out=out, model=run_folder)).failed
    np.testing.assert_array_equal(photo_files.read_photo(f"{out}/alpha.png").alpha, alpha)
    assert photo_files.read_photo(f"{out}/gray.png").pixels.shape == (9, 8)
    deep = photo_files.read_photo(f"{out}/deep.png").pixels
    assert deep.dtype == np.uint16 and np.any(deep % 257)


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        (["--tile", "32", "--overlap", "8"], {"tiles": Tiles(32, 8)}),
        (["--tile", "32", "--max-pixels", "1000000"], {"tiles": Tiles(32)}),
        (["--max-pixels", "1000", "--overlap", "6"], {"max_pixels": 1000, "tiles": Tiles(None, 6)}),
    ],
)
def test_deblur_with_tile_or_max_pixels_restores_in_tiles(run_folder, tmp_path, arguments, how):
    photo, out = put(tmp_path / "large.png", picture(40, 90)), str(tmp_path / "out")
    assert deblur.main([photo, "-o", out, "--model", run_folder, *arguments]) == 0
    restorer, pixels = load_restorer(run_folder), photo_files.read_photo(photo).pixels
    found = photo_files.read_photo(f"{out}/large.png").pixels
    np.testing.assert_array_equal(found, restorer.deblur(pixels, **how))
    assert not np.array_equal(found, restorer.deblur(pixels))


def test_deblur_reads_and_writes_other_file_systems(write_run):
    write_run("ram://deblur/run")
    put("ram://deblur/in/a.png")
    result = deblur.run(
        config(photos=("ram://deblur/in",), out="ram://deblur/out", model="ram://deblur/run")
    )
    assert result.written == ("ram://deblur/out/a.png",)
    assert photo_files.read_photo("ram://deblur/out/a.png").pixels.shape == (12, 17, 3)


def test_plan_outputs_of_several_folders_has_a_subfolder_for_each(tmp_path):
    for name in ("x/a.png", "y/a.png", "b.gif"):
        files.make_dirs(files.parent(f"{tmp_path}/{name}"))
        Image.fromarray(picture()).save(f"{tmp_path}/{name}")
    inputs = [f"{tmp_path}/x", f"{tmp_path}/y/", f"{tmp_path}/b.gif"]
    assert plan_outputs(inputs, "out") == {
        f"{tmp_path}/x/a.png": "out/x/a.png",
        f"{tmp_path}/y/a.png": "out/y/a.png",
        f"{tmp_path}/b.gif": "out/b.png",
    }


def test_plan_outputs_with_outputs_inside_the_input_ignores_them(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "restored/a.png")
    assert list(plan_outputs([str(tmp_path)], f"{tmp_path}/restored")) == [f"{tmp_path}/a.png"]


def test_plan_outputs_onto_an_input_raises(tmp_path, monkeypatch):
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
        with pytest.raises(UserError, match=r"a\.png"):
            plan_outputs(inputs, out)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"a\.png"):
        plan_outputs(["a.png"], os.curdir)


def test_plan_outputs_with_colliding_names_renames_or_raises(tmp_path):
    put(tmp_path / "in/a.png")
    Image.fromarray(picture()).save(tmp_path / "in/a.gif")
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    assert plan_outputs([source, f"{source}/"], out) == plan_outputs([source], out)
    assert plan_outputs([source], out) == {
        f"{source}/a.gif": f"{out}/a.gif.png",
        f"{source}/a.png": f"{out}/a.png",
    }
    put(tmp_path / "in/a.gif.png")
    with pytest.raises(UserError, match=r"a\.gif\.png"):
        plan_outputs([source], out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_deblur_of_pipes_fails_without_blocking(run_folder, tmp_path):
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.mp4")
    given = (str(tmp_path / "a.png"), str(tmp_path / "b.mp4"))
    result = deblur.run(config(photos=given, out=str(tmp_path / "out"), model=run_folder))
    assert [path for path, _ in result.failed] == list(given)


def test_deblur_of_a_photo_beyond_the_memory_fails(run_folder, tmp_path, monkeypatch):
    photo, out = put(tmp_path / "a.png"), str(tmp_path / "out")
    monkeypatch.setattr(deblur, "_BYTES_PER_PIXEL", 2**50)
    # The header is enough: no pixel is decoded.
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decodes"))
    result = deblur.run(config(photos=(photo,), out=out, model=run_folder))
    assert result.failed[0][0] == photo
    assert photo in result.failed[0][1] and "GiB of memory" in result.failed[0][1]


def test_plan_outputs_into_a_file_raises(tmp_path):
    photo, there = put(tmp_path / "a.png"), tmp_path / "there"
    there.write_text("")
    with pytest.raises(UserError, match=f"{there}"):
        plan_outputs([photo], str(there))


def test_deblur_with_bad_settings_raises_before_writing(run_folder, tmp_path, capsys):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    assert deblur.main(["-o", out, "--model", run_folder]) == 2
    assert "photos" in capsys.readouterr().err
    for arguments, message in (
        ({"photos": (str(tmp_path / "run"),), "out": out}, "/run"),
        ({"photos": (photo, f"{photo}.png"), "out": f"{out}.png"}, r"\.png"),
        ({"photos": (photo,), "out": f"{out}.gif"}, r"\.gif"),
        ({"photos": (photo,), "out": out, "tile": 32, "overlap": 32}, "32"),
        ({"photos": (photo,), "out": out, "model": str(tmp_path)}, str(tmp_path)),
    ):
        with pytest.raises(UserError, match=message):
            deblur.run(config(**{"model": run_folder, **arguments}))
    assert not files.exists(out)
    missing = deblur.run(config(photos=(f"{photo}x",), out=out, model=run_folder))
    assert "does not exist" in missing.failed[0][1]


def test_side_by_side_writes_input_and_output_in_one_image(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.b.png"), str(tmp_path / "out")
    expected = {"photos": (photo,), "out": out, "model": run_folder}
    result = deblur.run(config(**expected))
    assert files.walk_files(out) == ["a.b.png"]
    before = os.stat(f"{out}/a.b.png").st_ino
    # The side-by-side image is missing and is written alone.
    result = deblur.run(config(**expected, side_by_side=True))
    assert result.written == (f"{out}/a.b.before-after.png",)
    assert os.stat(f"{out}/a.b.png").st_ino == before
    assert files.walk_files(out) == ["a.b.before-after.png", "a.b.png"]
    both = photo_files.read_photo(f"{out}/a.b.before-after.png").pixels
    np.testing.assert_array_equal(both[:, :17], photo_files.read_photo(photo).pixels)
    np.testing.assert_array_equal(both[:, 17:], photo_files.read_photo(f"{out}/a.b.png").pixels)
    assert deblur.run(config(**expected, side_by_side=True)).skipped == (f"{out}/a.b.png",)


def test_side_by_side_output_onto_another_output_raises(run_folder, tmp_path):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/a.before-after.png")
    expected = {"photos": (str(tmp_path / "in"),), "model": run_folder}
    with pytest.raises(UserError, match=r"a\.before-after\.png"):
        deblur.run(config(**expected, out=str(tmp_path / "out"), side_by_side=True))


def test_ensemble_flag_equals_an_ensemble_restorer(run_folder, tmp_path):
    photo, out = put(tmp_path / "in/a.png"), str(tmp_path / "out")
    assert deblur.main([photo, "-o", out, "--model", run_folder, "--ensemble"]) == 0
    expected = load_restorer(run_folder, ensemble=True).deblur(photo_files.read_photo(photo).pixels)
    np.testing.assert_array_equal(photo_files.read_photo(f"{out}/a.png").pixels, expected)


def test_tlc_flag_for_a_network_without_pooling_exits_with_2(run_folder, tmp_path, capsys):
    photo = put(tmp_path / "in/a.png")
    words = [photo, "-o", str(tmp_path / "out"), "--model", run_folder, "--tlc"]
    assert deblur.main([*words, "32"]) == 2
    assert "tlc: unet16" in capsys.readouterr().err
    assert deblur.main([*words, "off"]) == 0


def test_deblur_of_a_folder_with_videos_restores_both(run_folder, tmp_path, capsys):
    source = str(tmp_path / "in")
    put(tmp_path / "in/a.png")
    filming.make(f"{source}/b.mp4", size=(32, 48), count=3)
    files.write_bytes(f"{source}/c.mp4", b"no video")
    out = str(tmp_path / "out")
    arguments = [source, "-o", out, "--model", run_folder, "--side-by-side"]
    assert deblur.main(arguments) == 1
    assert "c.mp4" in capsys.readouterr().err
    assert files.walk_files(out) == [
        "a.before-after.png",
        "a.png",
        "b.before-after.mp4",
        "b.mp4",
    ]
    assert filming.frames_of(f"{out}/b.mp4")[0].shape == (3, 32, 48, 3)
    assert filming.frames_of(f"{out}/b.before-after.mp4")[0].shape == (3, 32, 96, 3)
    assert filming.sound_of(f"{out}/b.mp4") == filming.sound_of(f"{source}/b.mp4")


def test_plan_outputs_of_mixed_kinds_raises(tmp_path):
    for given, out, message in (
        ("a.png", "b.mp4", r"b\.mp4 .*a\.png"),
        ("a.mp4", "b.png", r"b\.png .*a\.mp4"),
        ("a.mp4", "b.avi", r"\.mkv"),
    ):
        with pytest.raises(UserError, match=message):
            plan_outputs([given], out)
    assert plan_outputs(["a.avi"], str(tmp_path)) == {"a.avi": f"{tmp_path}/a.mkv"}


def test_default_is_a_preset_which_is_named(tmp_path, capsys):
    photo = put(tmp_path / "in" / "a.png", picture(64, 48))
    assert deblur.main([photo, "-o", str(tmp_path)]) == 0
    assert presets.DEFAULT in capsys.readouterr().out
    expected = load_restorer(presets.DEFAULT).deblur(photo_files.read_photo(photo).pixels)
    np.testing.assert_array_equal(photo_files.read_photo(str(tmp_path / "a.png")).pixels, expected)
