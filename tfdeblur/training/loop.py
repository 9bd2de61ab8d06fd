"""The training loop: counts images, runs steps, and calls hooks between them."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tfdeblur.errors import UserError
from tfdeblur.training.engines.engine import Engine, StepResults, training_psnr
from tfdeblur.training.state import TrainingState


@dataclasses.dataclass(frozen=True)
class Report:
    """Progress and metrics, passed to hooks.

    Attributes:
        images: Images seen since the start of training.
        epoch_images: Images in one epoch.
        metrics: Means of the step's scalars since the hook was last called, over the steps that
            were not skipped; empty if all were.
        images_per_second: Throughput since then, counting only time spent training, without the
            first call of the engine, which compiles the step; None if there was no other.
        last: Whether this is the end of the run.
        waiting: Share of that time in which the devices waited for data, from 0 to 1. None without
            a throughput, and with deterministic ops, where TensorFlow does not allow timestamps.
    """

    images: int
    epoch_images: int
    metrics: Mapping[str, float]
    images_per_second: float | None
    last: bool
    waiting: float | None = None

    @property
    def epoch(self) -> float:
        """Epochs since the start of training."""
        return self.images / self.epoch_images

    @property
    def epoch_seconds(self) -> float | None:
        """Seconds that an epoch takes at this throughput, without validation and checkpoints."""
        return self.images_per_second and self.epoch_images / self.images_per_second


@dataclasses.dataclass
class Hook:
    """A function that is called at intervals, between steps.

    Attributes:
        every: Images between two calls, rounded up to whole steps; None for time alone.
        call: Receives a report.
        name: For messages.
        seconds: Minimum time between two calls, checked after every call of the engine.
    """

    every: int | None
    call: Callable[[Report], None]
    name: str = ""
    seconds: float | None = None


class Diverged(UserError):
    """A loss is no longer finite."""


class _Totals:
    """Sums over several calls of the engine."""

    def __init__(self) -> None:
        self.timed_steps = 0
        self.seconds = 0.0
        self.waited = 0.0
        self._counted = 0
        self._sums: dict[str, float] = {}

    def add(self, results: StepResults, seconds: float | None) -> None:
        """Adds one call; its seconds are None if they do not count."""
        if seconds is not None:
            self.timed_steps += results.steps
            self.seconds += seconds
            self.waited += results.waited
        self._counted += results.steps - results.skipped
        for name, value in results.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Returns the means of the scalars over the steps that were not skipped."""
        if not self._counted:
            return {}
        means = {name: value / self._counted for name, value in self._sums.items()}
        return training_psnr(means)


class _Schedule:
    """When a hook is due, and the totals since its last call."""

    def __init__(self, hook: Hook, images: int) -> None:
        self.hook = hook
        self.restart(images)

    def restart(self, images: int) -> None:
        """Starts a new interval at a count of images."""
        every = self.hook.every
        self.goal = math.inf if every is None else (images // every + 1) * every
        self._until = math.inf if self.hook.seconds is None else _now() + self.hook.seconds
        self.totals = _Totals()

    def is_late(self) -> bool:
        """Returns whether the interval in seconds is over."""
        return _now() >= self._until


def _now() -> float:
    # Monotonic: the time of day may be set back.
    return time.monotonic()


class Loop:
    """Trains from the state's image count to a given one.

    Args:
        engine: Runs the steps.
        state: Its `images` is the clock.
        step_images: Images that one step takes.
        epoch_images: Images in one epoch, for reports.
        steps_per_loop: Maximum number of steps in one call of the engine.
        max_skips: Maximum number of steps that may be skipped in a row.
        watch: Context manager around each call of the engine, which receives the number of its
            steps, and around each agreement between workers (0).
    """

    def __init__(
        self,
        engine: Engine,
        state: TrainingState,
        *,
        step_images: int,
        epoch_images: int,
        steps_per_loop: int,
        max_skips: int = 1,
        watch: Callable[[int], contextlib.AbstractContextManager[None]] | None = None,
    ) -> None:
        self._engine = engine
        self._state = state
        self._step_images = step_images
        self._epoch_images = epoch_images
        self._steps_per_loop = steps_per_loop
        self._max_skips = max_skips
        self._skips_in_a_row = 0
        self._compiled = False
        self._watch = watch or (lambda steps: contextlib.nullcontext())

    def run(
        self,
        batches: Iterator[Any],
        total_images: int,
        hooks: Sequence[Hook],
        on_progress: Callable[[int, Mapping[str, float]], None] = lambda images, metrics: None,
        stop: Callable[[], bool] = lambda: False,
        on_skipped: Callable[[int, int, str], None] = lambda images, steps, names: None,
        *,
        ends_run: bool = True,
    ) -> None:
        """Trains until `total_images` have been seen.

        Args:
            batches: Distributed batches, starting at the state's count of images.
            total_images: Where to stop; rounded up to whole steps.
            hooks: Called in order when their interval is over, and all of them at the end of the
                run.
            on_progress: Called after every call of the engine with the images of its steps and
                the means of their scalars.
            stop: Polled after every call of the engine; the run ends once it returns True.
            on_skipped: Called after a call of the engine that skipped steps, with the images
                seen, the number of skipped steps, and the scalars that were not finite in the
                first of them.
            ends_run: Whether the run ends there; if not, hooks are called only when due.

        Raises:
            Diverged: A scalar is not finite, or too many steps in a row were skipped; nothing is
                saved after it.
        """
        images = self._state.images_seen
        schedules = [_Schedule(hook, images) for hook in hooks]
        while images < total_images and not self.agreed([stop()])[0]:
            goal = min([total_images, *(schedule.goal for schedule in schedules)])
            steps = min(self._steps_per_loop, math.ceil((goal - images) / self._step_images))
            results, seconds = self._call(batches, steps, on_skipped)
            images = self._state.images_seen
            only = _Totals()
            for totals in (only, *(schedule.totals for schedule in schedules)):
                totals.add(results, seconds)
            on_progress(steps * self._step_images, only.means())
            last = ends_run and images >= total_images
            # A worker that called a hook alone would leave the others waiting.
            late = self.agreed([schedule.is_late() for schedule in schedules])
            for schedule, is_late in zip(schedules, late, strict=True):
                if images >= schedule.goal or is_late or last:
                    schedule.hook.call(self._report(schedule.totals, images, last))
                    schedule.restart(images)

    def _call(
        self, batches: Iterator[Any], steps: int, on_skipped: Callable[[int, int, str], None]
    ) -> tuple[StepResults, float | None]:
        """Runs some steps; returns their results and the seconds, None for the first call."""
        start = _now()
        with self._watch(steps):
            results = self._engine.run_steps(batches, steps, self._skips_in_a_row)
        seconds = _now() - start if self._compiled else None
        self._compiled = True
        which = ", ".join(results.nonfinite) or "a weight"
        images = self._state.images_seen
        if results.skipped:
            on_skipped(images, results.skipped, which)
        elif results.first_nonfinite is not None:
            finite = images - (steps - results.first_nonfinite) * self._step_images
            raise self._diverged(finite, f"{which} is not finite")
        self._skips_in_a_row = results.skips_in_a_row
        if results.max_skips_in_a_row > self._max_skips:
            raise self._diverged(
                images - steps * self._step_images,
                f"{results.max_skips_in_a_row} steps in a row were skipped because {which} was "
                "not finite, more than guards.max_consecutive_skips allows",
            )
        return results, seconds

    def agreed(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker; all workers must call it."""
        if not self._engine.several_workers or not flags:
            return list(flags)
        with self._watch(0):
            return self._engine.any_worker(flags)

    def _report(self, totals: _Totals, images: int, last: bool) -> Report:
        seconds = max(totals.seconds, 1e-9)
        timed = totals.timed_steps > 0
        return Report(
            images=images,
            epoch_images=self._epoch_images,
            metrics=totals.means(),
            images_per_second=totals.timed_steps * self._step_images / seconds if timed else None,
            last=last,
            waiting=min(totals.waited / seconds, 1.0)
            if timed and not math.isnan(totals.waited)
            else None,
        )

    def _diverged(self, images: int, what: str) -> Diverged:
        return Diverged(
            f"Training diverged in step {images // self._step_images + 1:,}, after {images:,} "
            f"images: {what}. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or use --precision float32."
        )
