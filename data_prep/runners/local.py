"""Makes shards in a pool of processes on this machine.

A worker makes whole shards, and writes them: pixels never cross from one process to another, and
each process holds one shard, however large the data set is. It needs no TensorFlow for local
files, so it starts in a fraction of a second.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from data_prep import processes
from data_prep.frames import Task
from data_prep.plan import ShardPlan
from data_prep.runners._memory import keep_freed_memory
from data_prep.sources.source import Source
from tfdeblur.data.tfrecord import Shard
from tfdeblur.errors import UserError

_worker: tuple[Task, Source] | None = None


def _start_worker(task: Task) -> None:
    global _worker
    keep_freed_memory()
    _worker = (task, task.job.build_source())


def _work(plan: ShardPlan) -> Shard:
    assert _worker is not None
    task, source = _worker
    return task.make_shard(source, plan)


def make_shards(task: Task, plans: Sequence[ShardPlan], workers: int) -> Iterator[Shard]:
    """Makes shards and yields each one when it is in its place, in any order.

    Args:
        task: What to make them from, and where.
        plans: The shards to make.
        workers: Number of processes; with one, or a single shard, no process is started.

    Raises:
        UserError: What a worker raised, or that one was killed. Shards that were in hand are
            finished first, so that none of the work is lost.
    """
    workers = min(workers, len(plans))
    # TensorFlow's file system in memory belongs to one process.
    if workers <= 1 or task.directory.startswith("ram://"):
        source = task.job.build_source()
        for plan in plans:
            yield task.make_shard(source, plan)
        return
    waiting = iter(plans)
    pending: set[Future[Shard]] = set()
    failure: BaseException | None = None
    with processes.pool(workers, _start_worker, (task,)) as pool:
        while True:
            # One shard more than there are workers, so that none waits.
            room = 0 if failure else workers + 1 - len(pending)
            pending.update(pool.submit(_work, plan) for plan in itertools.islice(waiting, room))
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    yield future.result()
                else:
                    failure = failure or error
    if isinstance(failure, BrokenProcessPool):
        raise UserError(
            "A worker process was killed, most often for want of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers."
        ) from failure
    if failure is not None:
        raise failure
