"""The build command: help, flags, errors."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from data_prep import build, doctor, images, runners
from data_prep.faults import Fault
from data_prep.sources import REGISTRY
from tests.helpers import faulty_data as faulty
from tests.helpers.raw_data import content, make_gopro, picture, save
from tfdeblur.config import settings
from tfdeblur.data import schema
from tfdeblur.data.dataset import open_split, set_to_validate
from tfdeblur.data.schema import Manifest
from tfdeblur.errors import ConfigError, DataError


def test_build_command_writes_set_and_finds_it_built(gopro, tmp_path, capsys):
    out = str(tmp_path / "out")
    words = ["gopro", "--source", str(gopro), "--out", out, "--tile", "16x10", "--workers", "1"]
    words += ["--val-scenes", "GOPR01", "GOPR02", "--encoding", "raw", "--stride", "8"]
    assert build.main(words) == 0
    manifest = Manifest.load(out)
    assert manifest.split("val").scenes == ("GOPR01", "GOPR02")
    train = manifest.split("train")
    assert (train.width, train.height, train.encoding) == (16, 10, "raw")
    assert train.records == 4 * 4 * 3
    assert manifest.options["stride"] == "8x8"
    assert "built, train 48 of 16x10, val 24 of 16x10, test 2 of 40x30" in capsys.readouterr().out
    assert build.main(words) == 0
    assert "already built" in capsys.readouterr().out


def test_build_command_with_config_file(photos, tmp_path):
    path = tmp_path / "build.yaml"
    path.write_text(f"source: {photos}\ntile: 12x12\nval_scenes: [photo1]\ntest_share: 0\n")
    out = str(tmp_path / "out")
    assert build.main(["sharp", "--config", str(path), "--out", out, "--workers", "1"]) == 0
    assert set(Manifest.load(out).splits) == {"train", "val"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gopr", "--out", "x"], "'gopro'"),
        (["--out", "x", "gopro"], "--out"),
        (["gopro", "--out", "x"], "source: "),
        (["scenes"], "out: "),
        (["scenes", "--out", "x", "--tile", "12y12"], "tile: "),
        (["scenes", "--out", "x", "--cuont", "3"], "'--count'"),
        (["scenes", "--out", "x", "--encoding", "jpg"], "encoding: "),
        (["scenes", "--out", "x", "--fraction", "1.5"], "fraction: "),
        (["scenes", "--out", "x", "--stride", "8"], "--stride"),
        (["scenes", "--out", "x", "--runner", "bem"], "runner: "),
        (["scenes", "--out", "x", "--beam-options", "a=1"], "--beam-options"),
        (["gopro", "--source", "nowhere", "--out", "x"], "--source nowhere"),
    ],
)
def test_build_command_wrong_usage_prints_one_error(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert build.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "x").exists()


def test_build_command_several_mistakes_prints_all(capsys):
    assert build.main(["scenes", "--tile", "x", "--limit", "0", "--cuont", "3"]) == 2
    printed = capsys.readouterr().err
    for key in ("tile", "limit", "--cuont", "out"):
        assert key in printed


def test_build_help_lists_sources_and_options(capsys):
    assert build.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in REGISTRY.names():
        assert f"  {name} " in printed
    assert build.main([]) == 2
    with pytest.raises(SystemExit) as caught:
        build.main(["gopro", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "--gamma" in printed and "--test-tile" in printed and "blur_gamma" in printed


def test_build_help_does_not_import_tensorflow():
    script = (
        "import sys\n"
        "from data_prep import build\n"
        "try:\n    build.main(['gopro', '--help'])\nexcept SystemExit:\n    pass\n"
        "import data_prep.runners.local\n"  # imported by workers
        "from data_prep.sources import REGISTRY\n"
        "modules = [REGISTRY.load(name) for name in REGISTRY.names()]\n"
        "sys.exit(bool({'tensorflow', 'keras', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_build_without_beam_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "data_prep.runners.beam", raising=False)
    monkeypatch.delattr(runners, "beam", raising=False)
    assert build.main(["scenes", "--out", str(tmp_path / "x"), "--runner", "beam"]) == 2
    assert "pip install 'tfdeblur[beam]'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_build_run_with_bad_config_raises(photos, tmp_path):
    config_class = build.config_class("sharp")
    with pytest.raises(ConfigError, match="tile: "):
        build.run(config_class(source=str(photos), out=str(tmp_path), tile="x"))
    with pytest.raises(ConfigError, match="config_class"):
        build.run(build.BuildConfig(out=str(tmp_path)))


@pytest.mark.parametrize(("tile", "count"), [("128x96", 12), ("256x144", 4)])
def test_build_real_reds_has_tile_count_of_paper(real_data, tmp_path, tile, count):
    config = build.config_class("reds")(
        source=str(real_data / "reds"),
        out=str(tmp_path / "out"),
        resize="512x288",
        tile=tile,
        limit=1,
        workers=1,
    )
    assert build.run(config).split("train").records == count


@pytest.fixture
def faulty_pairs(tmp_path):
    """Eight scenes of one pair, of which five are faulty in three ways."""
    root = faulty.make_pairs(tmp_path / "set", scenes=tuple("abcdefgh"), frames=1)
    for scene in "abc":
        os.truncate(f"{root}/blur/{scene}/0.png", 20)
    os.remove(f"{root}/sharp/d/0.png")
    # Only the pixels are damaged.
    os.truncate(f"{root}/sharp/e/0.png", os.path.getsize(f"{root}/sharp/e/0.png") // 2)
    return root


def build_pairs(root, out, *words):
    halves = ["--blurred", f"{root}/blur", "--sharp", f"{root}/sharp"]
    shares = ["--val-share", "0", "--test-share", "0", "--workers", "1"]
    return build.main(["pairs", *halves, "--out", str(out), *shares, *words])


def test_build_of_faulty_files_counts_them_and_names_the_first(faulty_pairs, tmp_path, capsys):
    os.truncate(f"{faulty_pairs}/blur/f/0.png", 20)
    assert build_pairs(faulty_pairs, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: 5 faults") and "--skip-bad" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["missing-half"] + [
        "unreadable"
    ] * 4
    assert all(f"blur/{scene}/0.png" in line for scene, line in zip("abc", lines[2:], strict=False))
    assert lines[-1].endswith("and 1 more.")
    assert not (tmp_path / "out").exists()


def test_build_skip_bad_leaves_faulty_files_out_and_lists_them(faulty_pairs, tmp_path, capsys):
    out = tmp_path / "out"
    assert build_pairs(faulty_pairs, out, "--skip-bad") == 0
    manifest = Manifest.load(str(out))
    assert manifest.split("train").scenes == ("f", "g", "h") and manifest.schema_version == 2
    assert len(manifest.skipped) == 5
    for name in [*(f"blur/{scene}/0.png" for scene in "abc"), "sharp/d/0.*", "sharp/e/0.png"]:
        assert sum(f"{faulty_pairs}/{name}" in text for text in manifest.skipped) == 1
    assert any("--skip-bad" in note and ": 5 (" in note for note in manifest.notes)
    capsys.readouterr()
    assert build_pairs(faulty_pairs, out, "--skip-bad") == 0
    assert "already built" in capsys.readouterr().out
    # A shard is remade from the same frames.
    (shard,) = manifest.split("train").shards
    data = (out / shard.file).read_bytes()
    os.truncate(out / shard.file, 100)
    assert doctor.main([str(out), "--repair", "--workers", "1"]) == 0
    assert (out / shard.file).read_bytes() == data


@pytest.mark.parametrize("damage", ["header", "pixels"])
@pytest.mark.parametrize("source", ["pairs", "sharp"])
def test_build_skip_bad_draws_splits_of_intact_scenes(tmp_path, source, damage):
    root = faulty.make_pairs(tmp_path / "set", scenes=tuple("abcdefgh"), frames=1)
    words = [source, "--workers", "1", "--val-share", "0.25", "--test-share", "0.25", "--skip-bad"]
    halves = ["--blurred", f"{root}/blur", "--sharp", f"{root}/sharp"]
    words += halves if source == "pairs" else ["--source", f"{root}/sharp"]
    assert build.main([*words, "--out", str(tmp_path / "whole")]) == 0
    whole = Manifest.load(str(tmp_path / "whole"))
    # The scenes of both smaller splits are damaged.
    gone = {*whole.split("val").scenes, *whole.split("test").scenes}
    for scene in gone:
        path = f"{root}/sharp/{scene.split('/')[0]}/0.png"
        os.truncate(path, 20 if damage == "header" else os.path.getsize(path) // 2)
    assert build.main([*words, "--out", str(tmp_path / "out")]) == 0
    found = Manifest.load(str(tmp_path / "out"))
    assert {name: split.records for name, split in found.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    scenes = {scene for split in found.splits.values() for scene in split.scenes}
    assert not scenes & gone and len(found.skipped) == 4


def test_build_skip_bad_with_shares_of_blur_is_built(photos, tmp_path):
    words = ["sharp", "--source", str(photos), "--out", str(tmp_path / "out"), "--workers", "1"]
    blur = "{trajectory: 1, identity: 1}"
    assert build.main([*words, "--tile", "10", "--blur", blur, "--skip-bad"]) == 0


def test_build_skip_bad_stops_if_the_disk_fails(photos, tmp_path, monkeypatch, capsys):
    load = images.load_rgb

    def fail(path):
        if path.endswith("photo1.png"):
            raise Fault("unavailable", path, f"{path}: Input/output error")
        return load(path)

    monkeypatch.setattr(images, "load_rgb", fail)
    words = ["sharp", "--source", str(photos), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert build.main([*words, "--tile", "10", "--skip-bad"]) == 2
    assert "photo1.png" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_hidden_folders_are_not_read(gopro, photos, tmp_path):
    for folder in (gopro / "train", photos):
        save(folder / ".thumbnails" / "1.png", picture(99))
    for source, root in (("gopro", gopro), ("sharp", photos)):
        words = [source, "--source", str(root), "--out", str(tmp_path / source), "--tile", "10"]
        assert build.main([*words, "--workers", "1"]) == 0
        splits = Manifest.load(str(tmp_path / source)).splits.values()
        assert not any("thumbnails" in scene for split in splits for scene in split.scenes)


@pytest.mark.parametrize(("more", "degraded"), [([], False), (["--jpeg", "40"], True)])
def test_set_without_blur_is_degraded_only_by_noise_or_jpeg(
    photos, tmp_path, capsys, more, degraded
):
    out = str(tmp_path / "out")
    words = ["sharp", "--source", str(photos), "--out", out, "--workers", "1", "--tile", "10"]
    assert build.main([*words, "--val-share", "0.2", "--blur", "none", *more]) == 0
    manifest = Manifest.load(out)
    assert manifest.is_degraded is degraded
    assert set_to_validate([manifest], "val") == (0 if degraded else None)
    doctor.main([out, "--workers", "1"])
    assert "identical-halves" not in capsys.readouterr().out


def test_scene_with_brackets_is_chosen_by_its_name(tmp_path):
    root = make_gopro(tmp_path / "set", {"train": ["clip[1]", "a", "b"], "test": ["t"]})
    words = ["gopro", "--source", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert build.main([*words, "--val-scenes", "clip[1]"]) == 0
    assert Manifest.load(str(tmp_path / "out")).split("val").scenes == ("clip[1]",)


def test_build_skip_bad_without_faults_changes_nothing(photos, tmp_path):
    words = ["sharp", "--source", str(photos), "--workers", "1", "--tile", "10", "--out"]
    for out, more in (("a", []), ("b", ["--skip-bad"])):
        assert build.main([*words, str(tmp_path / out), *more]) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert Manifest.load(str(tmp_path / "a")).schema_version == 1


def test_build_skip_bad_of_nothing_but_faults_raises(tmp_path, capsys):
    root = faulty.make_pairs(tmp_path / "set", scenes=("a",), frames=1)
    os.truncate(f"{root}/blur/a/0.png", 20)
    assert build_pairs(root, tmp_path / "out", "--skip-bad") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_build_skip_bad_keeps_scenes_apart(tmp_path, capsys):
    root = make_gopro(tmp_path / "set", {"train": ["A", "B"], "test": ["A"]})
    words = ["gopro", "--source", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]
    for more in ([], ["--skip-bad"]):
        assert build.main([*words, *more]) == 2
        printed = capsys.readouterr().err
        assert "'A'" in printed and "Or set --skip-bad" not in printed


@pytest.fixture
def mixed(tmp_path):
    """A data set with whole test images of three sizes."""
    sizes = {"a": (40, 30), "b": (30, 40), "c": (40, 30), "d": (24, 16)}
    for number, (name, size) in enumerate(sizes.items()):
        for half in ("blur", "sharp"):
            save(tmp_path / "set" / half / name / "0.png", picture(number, *size))
    words = ["--blurred", str(tmp_path / "set/blur"), "--sharp", str(tmp_path / "set/sharp")]
    words += ["--out", str(tmp_path / "out"), "--tile", "10", "--workers", "1"]
    words += ["--test-scenes", *sizes, "--val-share", "0"]
    assert build.main(["pairs", *words]) == 0
    return tmp_path / "out"


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_build_keeps_test_images_of_several_sizes_whole(mixed, tmp_path, capsys, encoding):
    import tensorflow as tf

    out = mixed
    if encoding == "raw":
        manifest = Manifest.load(str(mixed))
        options = {**manifest.options, "out": str(tmp_path / "raw"), "encoding": "raw"}
        out = tmp_path / "raw"
        build.run(settings.validate(build.config_class("pairs"), {**options, "workers": 1}))
    manifest = Manifest.load(str(out))
    split = manifest.split("test")
    assert (split.height, split.width, manifest.schema_version) == (0, 0, 2)
    assert [(s.width, s.height, s.records) for s in split.sizes] == [
        (24, 16, 1),
        (40, 30, 2),
        (30, 40, 1),
    ]
    seen = []
    for part in split.by_size():
        paths = [str(out / shard.file) for shard in part.shards]
        for data in tf.data.TFRecordDataset(paths):
            record = schema.decode_record(data.numpy(), part.height, part.width, encoding)
            assert (record.top, record.left) == (0, 0)
            assert (record.source_height, record.source_width) == (part.height, part.width)
            expected = picture("abcd".index(record.scene), part.width, part.height)
            np.testing.assert_array_equal(record.sharp, expected)
            parsed = schema.parse_example(data, part.height, part.width, encoding)
            np.testing.assert_array_equal(parsed["blurred"], expected)
            seen.append(record.scene)
    assert seen == ["d", "a", "c", "b"]
    assert doctor.main([str(out), "--workers", "1"]) == 4  # both halves are the same picture
    printed = capsys.readouterr().out
    assert "[identical-halves]" in printed and printed.count("error [") == 1


def test_doctor_repairs_and_checks_a_split_of_several_sizes(mixed, capsys):
    manifest = Manifest.load(str(mixed))
    first, second, _ = manifest.split("test").shards
    data = (mixed / second.file).read_bytes()
    (mixed / second.file).write_bytes(data[:-7])
    assert doctor.main([str(mixed), "--workers", "1"]) == 4
    assert "[shard-damaged]" in capsys.readouterr().out
    doctor.main([str(mixed), "--workers", "1", "--repair"])
    assert (mixed / second.file).read_bytes() == data
    # Sizes that contradict the shards.
    path = mixed / "manifest.json"
    tree = json.loads(path.read_text())
    tree["splits"]["test"]["sizes"][0]["records"] = 2
    path.write_text(json.dumps(tree))
    with pytest.raises(DataError, match=re.escape(str(path))):
        Manifest.load(str(mixed))
    tree["splits"]["test"]["sizes"][0] = {"height": 17, "width": 24, "records": 1}
    path.write_text(json.dumps(tree))
    assert doctor.main([str(mixed), "--workers", "1"]) == 4
    assert first.file in capsys.readouterr().out


def test_readers_of_one_size_refuse_a_split_of_several(mixed):
    with pytest.raises(DataError, match=r"--test-tile") as caught:
        open_split(str(mixed), "test")
    assert str(mixed) in str(caught.value)
