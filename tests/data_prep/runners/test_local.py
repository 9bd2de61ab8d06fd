"""The pool makes whole shards, explains what ends it, and leaves no process behind."""

import multiprocessing
import signal

import pytest

from data_prep import frames, journal, plan
from data_prep.runners import local
from data_prep.sources import sharp
from tests.data_prep.conftest import DyingJob
from tfdeblur.data import schema
from tfdeblur.errors import UserError
from tfdeblur.io import files

SIZE = plan.Size(40, 30)


@pytest.fixture
def task(photos, tmp_path):
    job = frames.Job("sharp", sharp.Options(source=str(photos), length=8.0), plan.Settings())
    (tmp_path / "out").mkdir()
    journal.begin(str(tmp_path / "out"), {}, ())
    return frames.Task(job, str(tmp_path / "out"))


def test_a_worker_that_dies_is_explained():
    shards = [plan.ShardPlan(f"{number}", (), 0, SIZE, SIZE, True) for number in (1, 2)]
    dying = frames.Task(DyingJob("sharp", None, plan.Settings()), "")
    with pytest.raises(UserError, match=r"worker process was killed.*fewer --workers"):
        list(local.make_shards(dying, shards, 2))


def test_whoever_stops_taking_shards_does_not_wait_for_the_workers(task):
    items = task.job.build_source().listing().splits["train"]
    # The second and third shards hold each photograph very often: minutes of work.
    shards = [
        plan.ShardPlan(f"{n}", items * times, 4 * times, SIZE, SIZE, False)
        for n, times in enumerate((1, 3000, 3000))
    ]
    made = local.make_shards(task, shards, 2)
    first = next(made)
    assert (first.file, first.records) == ("0", len(items))
    workers = multiprocessing.active_children()
    made.close()
    assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2
    assert not multiprocessing.active_children()


def test_workers_write_and_enter_what_they_make(task):
    items = task.job.build_source().listing().splits["train"]
    shards = [plan.ShardPlan(f"{n}.tfrecord", items, 4, SIZE, SIZE, True) for n in range(3)]
    made = list(local.make_shards(task, shards, 2))
    assert sorted(shard.file for shard in made) == [shard.file for shard in shards]
    assert journal.made(task.directory) == {shard.file: shard for shard in made}
    for shard in made:
        path = files.join(task.directory, shard.file)
        assert (files.size(path), schema.sha256_of(path)) == (shard.bytes, shard.sha256)
