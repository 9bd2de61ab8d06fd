"""The build command: help, flags, errors."""

import subprocess
import sys

import pytest

from data_prep import build, runners
from data_prep.sources import REGISTRY
from tfdeblur.data.schema import Manifest
from tfdeblur.errors import ConfigError


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
