"""A start-up barrier for the workers of a job, with a timeout."""

import contextlib
import ctypes
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from tfdeblur.errors import WorkerLost
from tfdeblur.training.engines.cluster import split_address
from tfdeblur.training.resilience.preemption import exit_now, print_beside

_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 2.0

# Time for a thread to print the message, before the C library ends the process without one.
_GRACE_SECONDS = 5.0


def wait_for_workers(
    addresses: Sequence[str],
    own: int,
    seconds: float,
    write: Callable[[str], object] = tqdm.write,
    poll_seconds: float = _POLL_SECONDS,
    hold: contextlib.ExitStack | None = None,
) -> None:
    """Waits until all workers of a job have started.

    TensorFlow connects workers in a call that holds the GIL and has no timeout: nothing is printed,
    and signals are not handled. So workers wait for each other before it: each opens its own port
    of `TF_CONFIG` and polls those of the others, which the framework's server may have by then.

    Args:
        addresses: The addresses of all workers, ``host:port``.
        own: This worker's index among them.
        seconds: The timeout.
        write: Prints the line that names the missing workers.
        poll_seconds: Time between two attempts.
        hold: Closes the port later; it is closed on return if unset.

    Raises:
        WorkerLost: Not all workers started in time; the message names the missing ones.
    """
    missing = [address for index, address in enumerate(addresses) if index != own]
    if not missing:
        return
    write(
        f"Waiting for {len(missing)} worker{'s'[: len(missing) != 1]}: {', '.join(missing)}. "
        f"The timeout is {_minutes(seconds)} (runtime.worker_minutes)."
    )
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        opened = False
        while True:
            if not opened:
                with contextlib.suppress(OSError):
                    (hold or stack).enter_context(_open(addresses[own]))
                    opened = True
            missing = [address for address in missing if not _answers(address)]
            if opened and not missing:
                return
            if time.monotonic() >= until:
                break
            time.sleep(poll_seconds)
    if not missing:
        raise WorkerLost(
            f"The port of this worker, {addresses[own]} in TF_CONFIG, was in use by another "
            f"program for {_minutes(seconds)}. End that program, or change the port in TF_CONFIG "
            "on all workers."
        )
    raise WorkerLost(
        f"Not all workers of this job started within {_minutes(seconds)} (runtime.worker_minutes): "
        f"missing {', '.join(missing)}. Check that they run, that all have the same addresses in "
        "TF_CONFIG, and that their ports can be reached from here; then start all workers again."
    )


@contextlib.contextmanager
def rendezvous(
    addresses: Sequence[str], own: int, seconds: float, *, hold_port: bool = False
) -> Iterator[Callable[[], None]]:
    """Waits for all workers, and limits the time until they are connected.

    Args:
        addresses: The addresses of all workers; empty for a single process, which waits for none.
        own: This worker's index among them.
        seconds: The timeout, first for all workers to start and then for them to be connected.
        hold_port: Whether this worker's port stays open until all are connected, because its
            framework does not open it: others may still look for it.

    Yields:
        A function to call once they are connected.

    Raises:
        WorkerLost: Not all workers started in time.
    """
    if not addresses:
        yield lambda: None
        return
    hold = contextlib.ExitStack()
    wait_for_workers(addresses, own, seconds, hold=hold if hold_port else None)
    others = ", ".join(address for index, address in enumerate(addresses) if index != own)
    message = (
        f"Not all workers of this job were connected within {_minutes(seconds)} "
        f"(runtime.worker_minutes): one of {others} started and stopped responding. Its own output "
        "shows why; then start all workers again."
    )
    with hold, deadline(seconds, message) as cancel:

        def connected() -> None:
            cancel()
            hold.close()

        yield connected


@contextlib.contextmanager
def deadline(seconds: float, message: str) -> Iterator[Callable[[], None]]:
    """Ends the process with the exit code of a lost worker if a block takes too long.

    A thread prints the message and ends the process. While TensorFlow connects workers it holds
    the GIL, so no thread of Python runs: then a timer of the C library ends the process a few
    seconds later, without a message (Linux only). `faulthandler` has such a timer too, but exits
    with code 1, which a job scheduler cannot distinguish from a failure.

    Args:
        seconds: The timeout.
        message: The message.

    Yields:
        A function that cancels the timeout before the end of the block.
    """
    over = threading.Event()

    def watch() -> None:
        if not over.wait(seconds):
            print_beside(f"error: {message}")
            if not over.is_set():
                exit_now(WorkerLost.exit_code)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    cancel_timer = _exit_after(seconds + _GRACE_SECONDS, WorkerLost.exit_code)

    def cancel() -> None:
        over.set()
        cancel_timer()

    try:
        yield cancel
    finally:
        cancel()


def _minutes(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min"


def _open(address: str) -> socket.socket:
    _, port = split_address(address)
    # Connections are never accepted: the others only check that they can be made.
    with contextlib.suppress(OSError, ValueError):  # IPv6 is missing or disabled
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True
        )
    return socket.create_server(("", port), backlog=128)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS):
            return True
    except (OSError, UnicodeError):  # UnicodeError: a name that cannot be encoded for a look-up
        return False


# ------------------------------------------------------------------------ the C library's own timer


class _Event(ctypes.Structure):
    # `struct sigevent` of Linux, 64 bytes, with the members of SIGEV_THREAD.
    _fields_ = [
        ("value", ctypes.c_long),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("rest", ctypes.c_byte * 32),
    ]


class _Times(ctypes.Structure):
    # `struct itimerspec`: an interval, which is not used, and the time until the timer fires.
    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "after", "after_ns")]


_SIGEV_THREAD = 2
_CLOCK_MONOTONIC = 1


def _exit_after(seconds: float, code: int) -> Callable[[], None]:
    """Makes the C library call `_exit` after a time, without Python; returns how to cancel it."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    library = ctypes.CDLL(None)
    if not hasattr(library, "timer_create"):  # old C libraries have it in librt
        return lambda: None
    function = ctypes.cast(library._exit, ctypes.c_void_p)
    event = _Event(value=code, notify=_SIGEV_THREAD, function=function)
    timer = ctypes.c_void_p()
    if library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        return lambda: None
    whole = int(seconds)
    times = _Times(after=whole, after_ns=int((seconds - whole) * 1e9))
    library.timer_settime(timer, 0, ctypes.byref(times), None)
    left = [timer]

    def cancel() -> None:
        if left:
            library.timer_delete(left.pop())

    return cancel
