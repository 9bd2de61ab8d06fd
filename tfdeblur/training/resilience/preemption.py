"""Ends of a run that come from outside: a key, a scheduler that wants its machine back.

Python runs its handlers between two of its instructions, so a process that waits inside TensorFlow,
for a long call or for another worker, would not notice a signal until it comes back. Here Python's
own handler, which is C and runs at once, writes the signal's number into a socket
(`signal.set_wakeup_fd`), and a thread reads it there.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Whatever is to be said must not keep the process: a terminal may stand still.
_SAY_SECONDS = 1.0

_END = b"\0"

STOPPING = "Stopping and saving. The same signal again leaves at once."
LEAVING = "Leaving at once. The newest checkpoint stays."
NOTHING_YET = "Leaving at once: no step has been made that could be saved."


class ValidationEnded(Exception):
    """A validation was given up between two batches, since the run is to stop."""


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a wish that the loop looks at; a second one kills.

    What a signal does is said at once on stderr, whatever Python or TensorFlow is doing. The wish
    is granted when the compiled call under way returns, so after at most `runtime.steps_per_loop`
    steps, or between two batches of a validation.

    Leaving at once runs no ``finally``. That is safe: whatever a run writes is written beside its
    place and renamed, a checkpoint counts as one by its last file, and a lock that is left behind
    belongs to a process that is gone, so the next start takes it over. It is what SIGKILL or a
    power cut leaves as well.

    In somebody else's process (a notebook, a program that calls `tfdeblur.train.run`), a second
    SIGINT raises KeyboardInterrupt instead, and nothing is changed but inside `training`. Signals
    that the process was told to ignore stay ignored. Outside of the main thread, where Python
    allows no handlers, nothing is changed at all.

    Args:
        own_process: The process is this run's alone, so it may be ended. Signals are held from
            the beginning of the ``with`` block, and before `training` and after it already the
            first one leaves at once.
        say: Takes what is told.

    Attributes:
        signal_number: The signal that came, or None.
    """

    def __init__(
        self, own_process: bool = False, say: Callable[[str], object] | None = None
    ) -> None:
        self.signal_number: int | None = None
        self._own_process = own_process
        self._say = say or _write
        self._training = not own_process
        self._before: dict[int, Any] = {}
        self._handled = 0
        self._received = 0
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._fd_before = -1

    def __enter__(self) -> "StopRequest":
        """Installs the handlers."""
        if threading.current_thread() is threading.main_thread() and self._sockets is None:
            self._sockets = reader, writer = socket.socketpair()
            # A full socket must not hold up a signal: whoever sends that many has been heard.
            writer.setblocking(False)
            self._thread = threading.Thread(
                target=self._listen, args=(reader,), name="signals", daemon=True
            )
            self._thread.start()
            self._fd_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    # None is a handler that is not Python's, which Python cannot put back.
                    self._before[number] = signal.SIG_DFL if before is None else before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Puts back what was there."""
        if self._sockets is None or self._thread is None:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        reader, writer = self._sockets
        self._sockets = None
        # What came before is read first.
        with contextlib.suppress(BlockingIOError):
            writer.send(_END)
        writer.close()
        self._thread.join()
        reader.close()
        self._before.clear()

    @contextlib.contextmanager
    def training(self) -> Iterator["StopRequest"]:
        """Holds the time in which there is something to save, and the first signal is a wish."""
        if self._own_process and self._sockets is not None:
            # TensorFlow puts a handler of its own in SIGTERM's place when workers are connected.
            for number in self._before:
                signal.signal(number, self._handle)
            self._training = True
            try:
                yield self
            finally:
                self._training = False
        else:
            with self:
                yield self

    def requested(self) -> bool:
        """Tells whether somebody wants the run to stop."""
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Is called by Python when it comes to it, in the main thread."""
        self._handled += 1
        if self._own_process:
            # The thread does the rest; but a wish that Python saw first is one from now on.
            if self._training and self.signal_number is None:
                self.signal_number = number
        elif self.signal_number is None:
            self.signal_number = number
        # Signals that came while TensorFlow did not return are one to Python, so the thread's
        # count matters as well.
        elif number == signal.SIGINT and max(self._handled, self._received) > 1:
            raise KeyboardInterrupt

    def _listen(self, reader: socket.socket) -> None:
        while True:
            for number in reader.recv(64) or _END:
                if number == _END[0]:
                    return
                if number in self._before:
                    self._receive(number)
                elif self._fd_before >= 0:
                    # Others wait for signals as well, such as the event loop of a notebook.
                    with contextlib.suppress(OSError):
                        os.write(self._fd_before, bytes([number]))

    def _receive(self, number: int) -> None:
        self._received += 1
        if self._received == 1 and (self._training or self.signal_number is not None):
            if self.signal_number is None:
                self.signal_number = number
            self._tell(STOPPING)
        elif self._own_process:
            self._tell(LEAVING if self._received > 1 else NOTHING_YET)
            leave(128 + number)
        elif number != signal.SIGINT:
            leave(128 + number)

    def _tell(self, message: str) -> None:
        """Says it in a thread of its own: whoever holds the lock of stderr may stand still."""
        thread = threading.Thread(target=self._say, args=(message,), daemon=True)
        thread.start()
        thread.join(_SAY_SECONDS)


def leave(code: int) -> None:
    """Ends the process at once, from any thread, whatever the others are doing."""
    os._exit(code)


def _write(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
