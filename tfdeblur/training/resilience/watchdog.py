"""A step that does not end: said while it lasts, from beside the training."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from tqdm import tqdm

# The first call is traced and compiled, which takes longer than any later one.
_FIRST_FACTOR = 5

# A call is late when it takes so many times as long as the last one of as many steps.
_SLOWER_FACTOR = 4

_FIRST = (
    "the first step has not ended after {passed}. It may still be compiled, which for a large "
    "network, with --runtime.xla on or on a TPU, takes many minutes; {causes}"
)
_LATER = "no step has ended for {passed}, the last took {usual} each; {causes}"
_CAUSES = (
    "or it waits for data (a bucket or a disk that does not answer: look whether the data can be "
    "read from this machine){workers}. The run goes on waiting; a signal ends it."
)
_WORKERS = ", or for another worker (look at the output of the others)"
_VOTE = (
    "nothing has been heard of another worker for {passed}. It may be saving, waiting for data, "
    "or hanging: look at the output of the others. The run goes on waiting; a signal ends it."
)


class StallWatch:
    """A thread that says once for each stall that no call has ended for a time, and when one has.

    The training tells it when a call begins and when it ends, and nothing within: what is
    computed, and how fast, is the same with it.

    Args:
        seconds: Without the end of a call until it is said. The first call gets five times as
            long, and a call of many slow steps four times what the last ones lead to expect, where
            that is not the first one.
        several_workers: Other processes take part, for which a call may wait.
        say: Takes a line.
        now: A clock in seconds.
    """

    def __init__(
        self,
        seconds: float,
        several_workers: bool = False,
        say: Callable[[str], object] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._workers = _WORKERS if several_workers else ""
        self._say = say or _write
        self._now = now
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._begun: float | None = None
        self._told = False
        self._steps = 0
        self._limit = 0.0
        self._step_seconds: float | None = None
        self._calls = 0

    def __enter__(self) -> "StallWatch":
        """Starts the thread."""
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            # It may be writing to a terminal that stands still.
            self._thread.join(1.0)

    @contextlib.contextmanager
    def call(self, steps: int) -> Iterator[None]:
        """Holds a call of so many steps; 0 is a question to the other workers."""
        with self._changed:
            self._begun = begun = self._now()
            self._told, self._steps = False, steps
            self._limit = self._limit_of(steps)
            self._changed.notify()
        try:
            yield
        except BaseException:
            with self._changed:
                self._begun = None
            raise
        with self._changed:
            passed, told = self._now() - begun, self._told
            self._begun = None
            if steps:
                self._learn(passed / steps, told)
        if told:
            self._say(f"It goes on: that took {_time(passed)}.")

    def _learn(self, step_seconds: float, stalled: bool) -> None:
        # A stall is no measure of what is usual; but steps may become slower for good.
        if stalled and self._step_seconds is not None:
            step_seconds = min(step_seconds, 2 * self._step_seconds)
        self._step_seconds = step_seconds
        self._calls += 1

    def _limit_of(self, steps: int) -> float:
        if not steps:
            return self._seconds
        if self._step_seconds is None:
            return _FIRST_FACTOR * self._seconds
        expected = max(self._seconds, _SLOWER_FACTOR * self._step_seconds * steps)
        # The first call was compiled as well: how long it took is no measure.
        return expected if self._calls > 1 else min(expected, _FIRST_FACTOR * self._seconds)

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                warning, left = self._look()
                if not warning:
                    self._changed.wait(left)
                    continue
            # Not with the lock: a terminal that stands still must not hold up the training.
            self._say(f"warning: {warning}")

    def _look(self) -> tuple[str, float | None]:
        """Returns what has to be said now, and the seconds until somebody has to look again."""
        if self._begun is None or self._told:
            return "", None
        passed = self._now() - self._begun
        if passed < self._limit:
            return "", self._limit - passed
        self._told = True
        if not self._steps:
            return _VOTE.format(passed=_time(passed)), None
        causes = _CAUSES.format(workers=self._workers)
        if self._step_seconds is None:
            return _FIRST.format(passed=_time(passed), causes=causes), None
        usual = _time(self._step_seconds)
        return _LATER.format(passed=_time(passed), usual=usual, causes=causes), None


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _write(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()
