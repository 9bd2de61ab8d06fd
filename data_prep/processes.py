"""Pools of worker processes that end with their parent, and at once when nobody wants more."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def _start(then: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C goes to the whole group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed outright cannot tell its workers to stop.
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
    """Opens a pool; where the block raises, its processes are ended without waiting.

    Args:
        workers: Number of processes.
        start: Called in each process before its first task; defined at the top of a module.
        arguments: What `start` is given.
    """
    others = set(multiprocessing.active_children())
    # A forked process would inherit TensorFlow's locks and may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _start, (start, arguments))
    try:
        yield executor
    except BaseException:
        # Ctrl-C, or whoever takes the results gave up: do not wait for what nobody will take.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
