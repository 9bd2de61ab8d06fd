"""Warns if a training step does not finish, from a thread beside the training."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from tfdeblur.training.resilience.preemption import print_now

# The first call is traced and compiled, which takes longer than any later one.
_FIRST_FACTOR = 5

# A call is late if it takes this many times as long as the last one, per step.
_SLOWER_FACTOR = 4

_FIRST = (
    "the first step has not finished after {passed}. It may still be compiling (many minutes for a "
    "large network with --runtime.xla on or on a TPU) or {causes}"
)
_LATER = "no step has finished for {passed}; the last ones took {usual} each. It may be {causes}"
_CAUSES = (
    "waiting for data (an unresponsive bucket or disk: check that the data can be read from this "
    "machine){workers}. The run keeps waiting; press Ctrl-C to stop it."
)
_WORKERS = ", or for another worker (see the output of the others)"
_VOTE = (
    "no answer from another worker for {passed}. It may be saving, waiting for data, or hanging: "
    "see the output of the others. The run keeps waiting; press Ctrl-C to stop it."
)


class StallWatchdog:
    """Warns once per stall, and again when the step has finished.

    It measures the time between the beginning and the end of a call; computations and their speed
    are the same without it.

    Args:
        seconds: Time after which a call counts as stalled. The first call, which is compiled, has
            five times as long; a call of slow steps, four times what the last ones took.
        several_workers: Whether a call may wait for other processes.
        write: Prints a line.
    """

    def __init__(
        self,
        seconds: float,
        several_workers: bool = False,
        write: Callable[[str], object] = print_now,
    ) -> None:
        self._seconds = seconds
        self._workers = _WORKERS if several_workers else ""
        self._write = write
        self._step_seconds: float | None = None
        self._calls = 0

    @contextlib.contextmanager
    def call(self, steps: int) -> Iterator[None]:
        """Surrounds a call of a number of steps; 0 is a vote among the workers."""
        limit = self.limit(steps)
        stalled = threading.Event()

        def warn() -> None:
            stalled.set()
            self._write(f"warning: {self.warning(steps, limit)}")

        timer = threading.Timer(limit, warn)
        timer.daemon = True
        begin = time.monotonic()
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        seconds = time.monotonic() - begin
        if steps:
            self.learn(seconds / steps, stalled.is_set())
        if stalled.is_set():
            self._write(f"Finished after {_time(seconds)}; the run continues.")

    def learn(self, step_seconds: float, stalled: bool) -> None:
        """Updates the expected duration of a step."""
        # A stall is not typical; but steps may become slower for good.
        if stalled and self._step_seconds is not None:
            step_seconds = min(step_seconds, 2 * self._step_seconds)
        self._step_seconds = step_seconds
        self._calls += 1

    def limit(self, steps: int) -> float:
        """Returns the seconds after which a call of a number of steps counts as stalled."""
        if not steps:
            return self._seconds
        if self._step_seconds is None:
            return _FIRST_FACTOR * self._seconds
        expected = max(self._seconds, _SLOWER_FACTOR * self._step_seconds * steps)
        # The first call includes compiling: its duration is not typical.
        return expected if self._calls > 1 else min(expected, _FIRST_FACTOR * self._seconds)

    def warning(self, steps: int, seconds: float) -> str:
        """Returns the warning for a call of a number of steps that has lasted some seconds."""
        passed = _time(seconds)
        if not steps:
            return _VOTE.format(passed=passed)
        causes = _CAUSES.format(workers=self._workers)
        if self._step_seconds is None:
            return _FIRST.format(passed=passed, causes=causes)
        return _LATER.format(passed=passed, usual=_time(self._step_seconds), causes=causes)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
