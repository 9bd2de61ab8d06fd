"""Workers of a job that wait for each other, but not for ever."""

import contextlib
import ctypes
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from tfdeblur.errors import WorkerLost
from tfdeblur.training.engines.tensorflow.runtime import split_address
from tfdeblur.training.resilience.preemption import leave

_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 2.0

# What the thread is given to say what is wrong, before the process is ended without a word.
_GRACE_SECONDS = 5.0


def wait_for_workers(
    addresses: Sequence[str],
    own: int,
    seconds: float,
    say: Callable[[str], object] = tqdm.write,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Waits until all workers of a job have come here.

    TensorFlow connects workers in a call that holds Python's lock and has no end: nothing is said,
    and no signal is seen. So workers meet before it: each opens the port that is its own in
    `TF_CONFIG` and looks for those of the others, which TensorFlow's server may have by then.

    Args:
        addresses: Of all workers, ``host:port``.
        own: This worker's place among them.
        seconds: How long it waits.
        say: Takes the line that tells whom it waits for.
        poll_seconds: Time between two looks.

    Raises:
        WorkerLost: Not all came in time; the message names those who did not.
    """
    missing = [address for index, address in enumerate(addresses) if index != own]
    if not missing:
        return
    say(
        f"Waiting for {len(missing)} worker{'s'[: len(missing) != 1]}: {', '.join(missing)}. "
        f"Without them this one leaves after {_minutes(seconds)} (runtime.worker_minutes)."
    )
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        opened = False
        while True:
            if not opened:
                with contextlib.suppress(OSError):
                    stack.enter_context(_open(addresses[own]))
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
            f"program for {_minutes(seconds)}. End that program, or give all workers another port."
        )
    raise WorkerLost(
        f"Not all workers of this job came within {_minutes(seconds)}: missing "
        f"{', '.join(missing)}. See whether they run, whether all have the same addresses in "
        "TF_CONFIG, and whether their ports can be reached from here; then start all workers "
        "again. runtime.worker_minutes says how long they are waited for."
    )


@contextlib.contextmanager
def meeting(addresses: Sequence[str], own: int, seconds: float) -> Iterator[Callable[[], None]]:
    """Waits for all workers, and holds the time until they have also been connected.

    Args:
        addresses: Of all workers; none where there are no others, and then nothing happens.
        own: This worker's place among them.
        seconds: How long the others are waited for, first until they are there and then until
            they have heard of each other.

    Yields:
        A function to call when they have.

    Raises:
        WorkerLost: Not all came.
    """
    if not addresses:
        yield lambda: None
        return
    wait_for_workers(addresses, own, seconds)
    others = ", ".join(address for index, address in enumerate(addresses) if index != own)
    message = (
        f"Not all workers of this job were ready within {_minutes(seconds)}: one of {others} came "
        "and did not go on. Its own output says why; then start all workers again. "
        "runtime.worker_minutes says how long they are waited for."
    )
    with deadline(seconds, message) as call_off:
        yield call_off


@contextlib.contextmanager
def deadline(seconds: float, message: str) -> Iterator[Callable[[], None]]:
    """Ends the process with the code of a lost worker where a block takes too long.

    A thread says so and ends the process. TensorFlow's connecting of workers holds Python's lock,
    so that no thread of Python runs: there a timer of the C library ends it, without a word, a
    few seconds later (Linux only).

    Args:
        seconds: From now.
        message: What is said.

    Yields:
        A function that calls it off before the end of the block.
    """
    over = threading.Event()

    def watch() -> None:
        if not over.wait(seconds):
            told = threading.Thread(target=_tell, args=(message,), daemon=True)
            told.start()
            told.join(1.0)
            if not over.is_set():
                leave(WorkerLost.exit_code)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    cancel = _leave_after(seconds + _GRACE_SECONDS, WorkerLost.exit_code)

    def call_off() -> None:
        over.set()
        cancel()

    try:
        yield call_off
    finally:
        call_off()


def _tell(message: str) -> None:
    tqdm.write(f"error: {message}", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()


def _minutes(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min"


def _open(address: str) -> socket.socket:
    _, port = split_address(address)
    # Never accepted: that a connection can be made is all that the others look for.
    with contextlib.suppress(OSError, ValueError):  # without IPv6, or with it switched off
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True
        )
    return socket.create_server(("", port), backlog=128)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS):
            return True
    except (OSError, UnicodeError):  # the latter for a name that cannot be looked up at all
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
    # `struct itimerspec`: an interval, which is not used, and the time to the end.
    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "after", "after_ns")]


_SIGEV_THREAD = 2
_CLOCK_MONOTONIC = 1


def _leave_after(seconds: float, code: int) -> Callable[[], None]:
    """Lets the C library call `_exit` after a time, for which no Python has to run."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    library = ctypes.CDLL(None)
    if not hasattr(library, "timer_create"):  # an old C library has it elsewhere
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
