"""Graceful shutdown on SIGINT and SIGTERM.

Python runs signal handlers between two bytecode instructions, so a process inside a long call of
TensorFlow would notice a signal only when the call returns. Python's own handler in C runs at
once and writes the signal's number to a socket (`signal.set_wakeup_fd`), which a thread reads.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from tqdm import tqdm

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Printing must not block the process: a terminal may be stopped.
_WRITE_SECONDS = 1.0

_END = b"\0"

STOPPING = "Stopping and saving. The same signal again exits at once."
EXITING = "Exiting at once. The newest checkpoint is kept."
NOTHING_TO_SAVE = "Exiting at once: there are no new steps to save."


def print_now(message: str) -> None:
    """Prints on stderr, and leaves nothing in a buffer."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()


def print_beside(message: str, write: Callable[[str], object] = print_now) -> None:
    """Prints from another thread, because the holder of stderr's lock may be blocked."""
    thread = threading.Thread(target=write, args=(message,), daemon=True)
    thread.start()
    thread.join(_WRITE_SECONDS)


class ValidationInterrupted(Exception):
    """A validation was ended between two batches, because the run should stop."""


class StopRequest:
    """Handles SIGINT and SIGTERM: the first requests a stop, the second exits at once.

    The effect of a signal is printed at once on stderr, whatever Python or TensorFlow is doing.
    The loop polls the request when the current compiled call returns, so after at most
    `runtime.steps_per_loop` steps; a validation polls it between two batches.

    An exit at once runs no ``finally``. It is safe, as SIGKILL or a power cut is: files are written
    under another name and renamed, a checkpoint counts once its last file is written, and the lock
    of a dead process is taken over by the next start.

    In a process that does more than this run (a notebook, a program that calls
    `tfdeblur.train.run`), a second SIGINT raises KeyboardInterrupt instead, and handlers are
    installed only inside `training`. Signals that the process ignores stay ignored. Outside the
    main thread, where Python allows no handlers, nothing is changed.

    Args:
        own_process: Whether the process exists for this run alone, so that it may be ended.
            Handlers are then installed for the whole ``with`` block, and before and after
            `training` even the first signal exits at once.
        write: Prints a message.

    Attributes:
        signal_number: The first signal received, or None.
    """

    def __init__(
        self, own_process: bool = False, write: Callable[[str], object] = print_now
    ) -> None:
        self.signal_number: int | None = None
        self._own_process = own_process
        self._write = write
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
            # A full socket must not block a signal; by then, earlier ones have taken effect.
            writer.setblocking(False)
            self._thread = threading.Thread(
                target=self._listen, args=(reader,), name="signals", daemon=True
            )
            self._thread.start()
            self._fd_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    # None is a handler that is not Python's, which Python cannot restore.
                    self._before[number] = signal.SIG_DFL if before is None else before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        """Restores the previous handlers."""
        if self._sockets is None or self._thread is None:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        reader, writer = self._sockets
        self._sockets = None
        # The thread reads earlier signals first.
        with contextlib.suppress(BlockingIOError):
            writer.send(_END)
        writer.close()
        self._thread.join()
        reader.close()
        self._before.clear()

    @contextlib.contextmanager
    def training(self) -> Iterator["StopRequest"]:
        """Marks the time in which the first signal requests a stop, since there is work to save."""
        if self._own_process and self._sockets is not None:
            # TensorFlow replaces the handler of SIGTERM when it connects workers.
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
        """Returns whether a signal requested a stop."""
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal in the main thread, when Python gets to it."""
        self._handled += 1
        if self._own_process:
            # The thread does the rest, but Python may be the first to see the request.
            if self._training and self.signal_number is None:
                self.signal_number = number
        elif self.signal_number is None:
            self.signal_number = number
        # Python merges signals that arrive during one call of TensorFlow; the thread counts them.
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
                    # Others wait for signals too, such as the event loop of a notebook.
                    with contextlib.suppress(OSError):
                        os.write(self._fd_before, bytes([number]))

    def _receive(self, number: int) -> None:
        self._received += 1
        if self._received == 1 and (self._training or self.signal_number is not None):
            if self.signal_number is None:
                self.signal_number = number
            print_beside(STOPPING, self._write)
        elif self._own_process:
            print_beside(EXITING if self._received > 1 else NOTHING_TO_SAVE, self._write)
            exit_now(128 + number)
        elif number != signal.SIGINT:
            exit_now(128 + number)


def exit_now(code: int) -> None:
    """Ends the process at once, from any thread, whatever other threads are doing."""
    os._exit(code)
