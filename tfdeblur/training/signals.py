"""Ends of a run that come from outside: a key, a scheduler that wants its machine back."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a wish that the loop looks at; a second one kills.

    A signal is noticed when the compiled call under way returns, so after at most
    `runtime.steps_per_loop` steps. Signals that the process was told to ignore stay ignored, and
    outside of the main thread, where Python allows no handlers, nothing is changed.

    Attributes:
        signal_number: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Installs the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Puts back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Tells whether somebody wants the run to stop."""
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = number
            tqdm.write("Stopping and saving. The same signal again leaves at once.")
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            # The default ends the process, and whoever waits for it sees by which signal.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
