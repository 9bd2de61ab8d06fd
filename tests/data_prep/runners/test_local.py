"""The local runner makes shards in a pool, reports errors and leaves no process behind."""

import multiprocessing
import signal

import pytest

from data_prep import frames, journal, plan
from data_prep.runners import local
from data_prep.sources import sharp
from tests.helpers.raw_data import DyingJob
from tfdeblur.errors import UserError
from tfdeblur.io import files

SIZE = (30, 40)


@pytest.fixture
def job(photos, tmp_path):
    (tmp_path / "out").mkdir()
    journal.begin(str(tmp_path / "out"), {}, ())
    options = sharp.Options(source=str(photos), length=8.0)
    return frames.Job("sharp", options, plan.Settings(), str(tmp_path / "out"))


def test_make_shards_killed_worker_raises():
    shards = [plan.ShardPlan(f"{number}", (), 0, SIZE, SIZE, True) for number in (1, 2)]
    dying = DyingJob("sharp", None, plan.Settings(), "")
    with pytest.raises(UserError, match="--workers"):
        list(local.make_shards(dying, shards, 2))


def test_make_shards_closed_terminates_workers(job):
    items = job.build_source().listing().splits["train"]
    # The second and third shards repeat each photograph, which takes minutes.
    shards = [
        plan.ShardPlan(f"{n}", items * times, 4 * times, SIZE, SIZE, False)
        for n, times in enumerate((1, 3000, 3000))
    ]
    made = local.make_shards(job, shards, 2)
    first = next(made)
    assert (first.file, first.records) == ("0", len(items))
    workers = multiprocessing.active_children()
    made.close()
    assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2
    assert not multiprocessing.active_children()


def test_make_shards_writes_and_enters_shards(job):
    items = job.build_source().listing().splits["train"]
    shards = [plan.ShardPlan(f"{n}.tfrecord", items, 4, SIZE, SIZE, True) for n in range(3)]
    made = list(local.make_shards(job, shards, 2))
    assert sorted(shard.file for shard in made) == [shard.file for shard in shards]
    assert journal.made(job.directory) == {shard.file: shard for shard in made}
    for shard in made:
        path = files.join(job.directory, shard.file)
        assert (files.size(path), files.sha256_of(path)) == (shard.bytes, shard.sha256)
