"""Work that is spread over processes and comes back in the order in which it was given."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_prep import processes
from tfdeblur.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def _run(function: Callable[[T], R], chunk: list[T]) -> list[R]:
    return [function(task) for task in chunk]


def ordered(
    function: Callable[[T], R], tasks: Iterable[T], workers: int, chunk: int = 4
) -> Iterator[R]:
    """Applies a function to tasks as they come, holding few of them and of the results at once.

    Args:
        function: Defined at the top of a module.
        tasks: What to apply it to; taken from only as fast as results are.
        workers: Number of processes; with one, no process is started.
        chunk: Tasks that go to a process together.

    Yields:
        The results in the order of the tasks.

    Raises:
        UserError: A process was killed.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    waiting = iter(tasks)
    pending: collections.deque[Future[list[R]]] = collections.deque()
    try:
        with processes.pool(workers) as pool:
            while True:
                while len(pending) < 2 * workers:
                    taken = list(itertools.islice(waiting, chunk))
                    if not taken:
                        break
                    pending.append(pool.submit(_run, function, taken))
                if not pending:
                    return
                yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed, most often for want of memory. Run the command again "
            "with fewer --workers."
        ) from error
