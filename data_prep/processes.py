"""Worker processes: pools that end with their parent and can be abandoned at once, and memory."""

import collections
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from PIL import Image

from tfdeblur.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

# Option numbers of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# The maximum that glibc accepts; an image of 3840x2160 fits.
_MAX_PIECE = 32 << 20
_KEPT_BYTES = 64 << 20
# 16 MiB blocks that Pillow keeps for its next image.
_KEPT_BLOCKS = 4


def _start(then: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that is killed by SIGKILL cannot stop its workers.
        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    if then is not None:
        then(*arguments)


@contextlib.contextmanager
def pool(
    workers: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Opens a process pool; if the block raises, its processes are terminated at once.

    Args:
        workers: Number of processes.
        start: Called in each process before its first task; a module-level function.
        arguments: Arguments of `start`.

    Raises:
        UserError: A worker process was killed.
    """
    others = set(multiprocessing.active_children())
    # A forked process would inherit TensorFlow's locks and may deadlock.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _start, (start, arguments))
    try:
        yield executor
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "A worker process was killed, most likely because memory ran out. Run the command "
                "again with fewer --workers; a build keeps its finished shards."
            ) from error
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _run(function: Callable[[T], R], chunk: list[T]) -> list[R]:
    return [function(task) for task in chunk]


def ordered(
    function: Callable[[T], R], tasks: Iterable[T], workers: int, chunk: int = 4
) -> Iterator[R]:
    """Maps a function over tasks with few tasks and results in memory at a time.

    Args:
        function: A module-level function.
        tasks: Its arguments; consumed as fast as results are.
        workers: Number of processes; with one, everything runs in this process.
        chunk: Tasks sent to a process together.

    Yields:
        The results in the order of the tasks.

    Raises:
        UserError: A worker process was killed.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    waiting = iter(tasks)
    pending: collections.deque[Future[list[R]]] = collections.deque()
    with pool(workers) as executor:
        while True:
            while len(pending) < 2 * workers:
                taken = list(itertools.islice(waiting, chunk))
                if not taken:
                    break
                pending.append(executor.submit(_run, function, taken))
            if not pending:
                return
            yield from pending.popleft().result()


def keep_freed_memory() -> None:
    """Makes this process reuse the memory of one image for the next.

    By default, Pillow and glibc return it to the system at once and get it back page by page, which
    costs a tenth of the decoding time. Has no effect on other C libraries.

    Reference: mallopt(3); Pillow's documentation, Reference / Internal reference / Block allocator.
    """
    Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]  # documented, untyped
    # TypeError: Windows cannot load the process itself as a library.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MAX_PIECE)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
