"""Makes shards in a pool of processes on this machine.

A worker makes whole shards, and writes them: pixels never cross from one process to another, and
each process holds one shard, however large the data set is. It needs no TensorFlow for local
files, so it starts in a fraction of a second.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from data_prep.frames import Task
from data_prep.plan import ShardPlan
from data_prep.runners._memory import keep_freed_memory
from data_prep.sources._source import Source
from tfdeblur.data.wire import Shard
from tfdeblur.errors import UserError

_worker: tuple[Task, Source] | None = None


def _start_worker(task: Task) -> None:
    global _worker
    # Ctrl-C goes to the whole group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed outright cannot tell its workers to stop.
        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
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
    others = set(multiprocessing.active_children())
    # A forked process would inherit TensorFlow's locks and may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (task,))
    waiting = iter(plans)
    pending: set[Future[Shard]] = set()
    failure: BaseException | None = None
    try:
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
    except BaseException:
        # Ctrl-C, or whoever takes the shards gave up: do not wait for what nobody will take.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if isinstance(failure, BrokenProcessPool):
        raise UserError(
            "A worker process was killed, most often for want of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers."
        ) from failure
    if failure is not None:
        raise failure
