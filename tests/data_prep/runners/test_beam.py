"""Apache Beam makes the same files as the local runner, resumes, and reports errors."""

import os
import signal
import subprocess
import sys
import time

import pytest

from data_prep import build, plan
from tests.helpers.raw_data import build_photos, content, picture, save
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files

pytest.importorskip("apache_beam", reason="Apache Beam (extra `beam`) is not installed")

from data_prep.runners import beam

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_beam_shards_match_local_runner(photos, tmp_path, small_shards, encoding):
    one = build_photos(photos, tmp_path / "local", encoding=encoding, workers=2)
    two = build_photos(photos, tmp_path / "beam", encoding=encoding, workers=2, runner="beam")
    assert one == two
    assert len(one.split("train").shards) > 1
    assert content(tmp_path / "local") == content(tmp_path / "beam")


@pytest.mark.slow
def test_beam_and_local_runner_resume_each_other(photos, tmp_path, small_shards, capsys):
    whole = build_photos(photos, tmp_path / "whole")
    out = tmp_path / "out"
    build_photos(photos, out)
    for runner, split in (("beam", "train"), ("local", "val"), ("beam", "test")):
        (out / whole.split(split).shards[0].file).unlink()
        build_photos(photos, out, runner=runner)
        assert "shards exist" in capsys.readouterr().out
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_beam_bad_image_raises_and_keeps_other_shards(photos, tmp_path, small_shards):
    good = (photos / "photo3.png").read_bytes()
    (photos / "photo3.png").write_bytes(good[:-500])
    with pytest.raises(DataError, match=r"photo3\.png"):
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
def test_beam_killed_pipeline_resumes(tmp_path):
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


def test_beam_memory_file_system_raises(photos):
    with pytest.raises(ConfigError, match="ram://beam"):
        build_photos(photos, "ram://beam", runner="beam")


def test_pack_round_trip_is_small(photos):
    config = build.config_class("sharp")(source=str(photos), out="x")
    assert config.runner == "local"
    items = tuple(
        plan.Item("train/000", f"{n:08d}", 720, 1280, f"/data/REDS/{n}.png", f"/data/B/{n}.png")
        for n in range(100)
    )
    size = (720, 1280)
    shard = plan.ShardPlan("train-00000-of-00001.tfrecord", items, 100, size, size, True)
    assert beam.unpack(beam.pack(shard)) == shard
    # Dataflow limits pipelines to 10 MB, far more than 27,000 frames take.
    assert len(beam.pack(shard)) < 100 * 40


def test_pipeline_options_are_parsed():
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
        ("a='", "beam_options"),
        ("runner=Nonsense", "beam_options: Unexpected pipeline runner: Nonsense"),
        ("direct_num_workers=x", r"direct_num_workers: invalid int value: 'x'\.$"),
    ],
)
def test_pipeline_options_invalid_raise(word, message, capsys):
    with pytest.raises(ConfigError, match=message):
        beam.pipeline_options([word], 1)
    assert capsys.readouterr().err == ""
