"""Apache Beam makes the same files as the pool, goes on after a kill, and tells what is wrong."""

import os
import signal
import subprocess
import sys
import time

import pytest

from data_prep import build, plan
from tests.data_prep.conftest import picture, save
from tests.data_prep.test_writer import build_photos, content
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

pytest.importorskip("apache_beam", reason="Apache Beam (extra `beam`) is not installed")

from data_prep.runners import beam

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 2 * 2 * 3 * 40 * 30)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_shards_are_those_of_the_pool(photos, tmp_path, small_shards, encoding):
    one = build_photos(photos, tmp_path / "local", encoding=encoding, workers=2)
    two = build_photos(photos, tmp_path / "beam", encoding=encoding, workers=2, runner="beam")
    assert one == two
    assert len(one.split("train").shards) > 1
    assert content(tmp_path / "local") == content(tmp_path / "beam")


@pytest.mark.slow
def test_either_runner_goes_on_from_the_other(photos, tmp_path, small_shards, capsys):
    whole = build_photos(photos, tmp_path / "whole")
    out = tmp_path / "out"
    build_photos(photos, out)
    for runner, split in (("beam", "train"), ("local", "val"), ("beam", "test")):
        (out / whole.split(split).shards[0].file).unlink()
        build_photos(photos, out, runner=runner)
        assert "shards are there; making the others" in capsys.readouterr().out
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_bad_picture_is_told_in_one_line_and_all_else_is_kept(photos, tmp_path, small_shards):
    good = (photos / "photo3.png").read_bytes()
    (photos / "photo3.png").write_bytes(good[:-500])
    with pytest.raises(DataError, match=r"photo3\.png cannot be read"):
        build_photos(photos, tmp_path / "out", runner="beam")
    made = [name for name in files.list_dir(str(tmp_path / "out")) if name.endswith(".tfrecord")]
    assert len(made) >= 3
    (photos / "photo3.png").write_bytes(good)
    build_photos(photos, tmp_path / "out", runner="beam")
    build_photos(photos, tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


_BUILD = """
import sys
from data_prep import build, plan
plan.SHARD_BYTES = 1
build.run(build.config_class("sharp")(source=sys.argv[1], out=sys.argv[2], tile="100",
    workers=2, val_share=0, test_share=0, runner=sys.argv[3]))
"""


@pytest.mark.slow
def test_a_killed_pipeline_is_gone_on_with(tmp_path):
    for number in range(24):
        save(tmp_path / "photos" / f"{number}.png", picture(number, 700, 500))
    words = [sys.executable, "-c", _BUILD, str(tmp_path / "photos")]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    out = tmp_path / "out"
    command = subprocess.Popen([*words, str(out), "beam"], start_new_session=True, **quiet)
    deadline = time.monotonic() + 240
    while not list(out.glob("*.tfrecord")):
        assert command.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    assert not (out / schema.MANIFEST_NAME).exists()
    made = len(list(out.glob("*.tfrecord")))
    assert 1 <= made < 24
    subprocess.run([*words, str(out), "beam"], check=True, **quiet)
    subprocess.run([*words, str(tmp_path / "fresh"), "local"], check=True, **quiet)
    assert content(out) == content(tmp_path / "fresh")


def test_a_folder_in_memory_is_refused(photos):
    with pytest.raises(ConfigError, match="memory of this process"):
        build_photos(photos, "ram://beam", runner="beam")


def test_plans_are_packed(photos):
    config = build.config_class("sharp")(source=str(photos), out="x")
    assert config.runner == "local"
    items = tuple(
        plan.Item("train/000", f"{n:08d}", 720, 1280, f"/data/REDS/{n}.png", f"/data/B/{n}.png")
        for n in range(100)
    )
    size = plan.Size(1280, 720)
    shard = plan.ShardPlan("train-00000-of-00001.tfrecord", items, 100, size, size, True)
    assert beam.unpack(beam.pack(shard)) == shard
    # Dataflow takes 10 MB of pipeline: 27,000 frames fit in many times over.
    assert len(beam.pack(shard)) < 100 * 40


def test_options_are_beams_own():
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    options = beam.pipeline_options((), 3)
    assert options.view_as(StandardOptions).runner == beam.LOCAL_RUNNER
    assert options.view_as(DirectOptions).direct_num_workers == 3
    assert options.view_as(DirectOptions).direct_running_mode == "multi_processing"
    for words in (
        ["runner=FlinkRunner", "job_name='a b'", "no_auth"],
        ["--runner=FlinkRunner --job_name='a b' --no_auth"],
    ):
        options = beam.pipeline_options(words, 3)
        assert options.view_as(StandardOptions).runner == "FlinkRunner"
        assert options.get_all_options()["job_name"] == "a b"
        assert options.get_all_options()["no_auth"] is True
    options = beam.pipeline_options(["direct_num_workers=5"], 3)
    assert options.view_as(DirectOptions).direct_num_workers == 5


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a='", "cannot be read"),
        ("runner=Nonsense", "beam_options: Unexpected pipeline runner: Nonsense"),
        ("direct_num_workers=x", r"direct_num_workers: invalid int value: 'x'\.$"),
    ],
)
def test_options_that_beam_does_not_take(word, message, capsys):
    with pytest.raises(ConfigError, match=message):
        beam.pipeline_options([word], 1)
    assert capsys.readouterr().err == ""
