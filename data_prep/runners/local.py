"""Makes shards in a pool of processes on this machine.

Each worker makes and writes whole shards: pixels never cross process borders, and each process
holds one shard in memory, however large the data set is. Local files need no TensorFlow, so
workers start in a fraction of a second.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from data_prep import processes
from data_prep.frames import Job
from data_prep.plan import ShardPlan
from data_prep.sources.source import Source
from tfdeblur.data.tfrecord import Shard

_worker: tuple[Job, Source] | None = None


def _start_worker(job: Job) -> None:
    global _worker
    processes.keep_freed_memory()
    _worker = (job, job.build_source())


def _work(plan: ShardPlan) -> Shard:
    assert _worker is not None
    job, source = _worker
    return job.make_shard(source, plan)


def make_shards(job: Job, plans: Sequence[ShardPlan], workers: int) -> Iterator[Shard]:
    """Makes shards and yields each one when it is finished, in any order.

    Args:
        job: The source, the settings and the folder of the data set.
        plans: The shards to make.
        workers: Number of processes; with one worker or one shard, everything runs in this
            process.

    Raises:
        UserError: Raised by a worker, or a worker was killed. Shards in progress are finished
            first, so that no work is lost.
    """
    workers = min(workers, len(plans))
    # TensorFlow's in-memory file system belongs to one process.
    if workers <= 1 or job.directory.startswith("ram://"):
        source = job.build_source()
        for plan in plans:
            yield job.make_shard(source, plan)
        return
    waiting = iter(plans)
    pending: set[Future[Shard]] = set()
    failure: BaseException | None = None
    with processes.pool(workers, _start_worker, (job,)) as pool:
        while True:
            # One shard more than workers, so that no worker waits.
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
        if failure is not None:
            raise failure
