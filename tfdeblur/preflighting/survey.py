"""Compiles a run for a chip at two batch sizes, and says what follows for all others."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tfdeblur import programs
from tfdeblur.preflighting import compiling, fit
from tfdeblur.preflighting.cache import Cache
from tfdeblur.preflighting.chips import Chip
from tfdeblur.preflighting.fit import Compiled, Line
from tfdeblur.preflighting.inspection import EDITION, Inspection
from tfdeblur.preflighting.table import Row
from tfdeblur.preflighting.targets import Target
from tfdeblur.programs import Answer

# How much of the memory the second batch is to fill at most. Close to the end the compiler begins
# to compute things twice to save room; far from it features stay inside the chip, and the line
# through two small batches would promise too much.
_FILLED = 0.7

# What a step needs at once is less than half of all features that it ever makes.
_AT_ONCE = 0.5

# How often a batch size that did not fit is made smaller.
_TRIES = 4


class Failed(Exception):
    """A step that could not be compiled, for another reason than room; the message says why."""


@dataclasses.dataclass(frozen=True)
class _Lowered:
    """A step as HLO, in a file of this process."""

    path: str
    fingerprint: str
    about: Mapping[str, Any]


class Surveyor:
    """Asks TensorFlow for steps and libtpu for programs, each in a process of its own.

    Args:
        cache: Answers that were given before.
        seconds: Limit of time for each process.
        progress: Is told what happens next.
        ask: Runs a program; replaced by tests.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        seconds: float,
        progress: Callable[[str], None] = lambda words: None,
        ask: Callable[..., Answer] = programs.ask,
    ) -> None:
        self._cache = cache
        self._seconds = seconds
        self._progress = progress
        self._ask = ask
        self._folder = tempfile.TemporaryDirectory(prefix="tfdeblur-")
        self._lowered: dict[tuple[str, int], _Lowered] = {}

    def close(self) -> None:
        """Removes the steps of this process."""
        self._folder.cleanup()

    def __enter__(self) -> "Surveyor":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def row(self, target: Target, chip: Chip, *, confirm: bool = False) -> Row:
        """Compiles for one chip.

        Args:
            target: What is compiled.
            chip: What for.
            confirm: Compile the largest batch as well.

        Returns:
            What was found; a step that cannot be compiled is a row that says so.
        """
        row = Row.of(target, chip)
        try:
            first, about = self._compile(target, target.batch, chip)
            row = row.described(about)
            if not first.fits:
                row = row.without_room(first)
                smaller = self._smaller(target, first, chip)
                if smaller is None:
                    return dataclasses.replace(row, largest=0)
                first = smaller
            second = self._second(target, first, chip, about["inspection"]["features"])
            row = row.measured(first, chip)
            if second is None:
                return dataclasses.replace(row, largest=first.batch)
            line = fit.through(first, second)
            largest = line.largest(chip.usable, target.micro_batches)
            row = dataclasses.replace(row, largest=largest, fixed=line.fixed, each=line.each)
            return self._confirmed(row, target, chip, first, line) if confirm else row
        except Failed as failure:
            return dataclasses.replace(row, error=str(failure))

    def _smaller(self, target: Target, tried: Compiled, chip: Chip) -> Compiled | None:
        """Finds a batch that fits, beginning below one that did not."""
        for _ in range(_TRIES):
            if tried.batch == target.micro_batches:
                return None
            share = chip.usable / tried.needed if tried.needed else 0.5
            batch = _whole(tried.batch * min(0.8 * share, 0.5), target.micro_batches)
            tried, _ = self._compile(target, batch, chip)
            if tried.fits:
                return tried
        return None

    def _second(
        self, target: Target, first: Compiled, chip: Chip, features: int
    ) -> Compiled | None:
        """Compiles another batch, so large that it fills a good part of the memory.

        Args:
            target: What is compiled.
            first: A batch that fits.
            chip: What for.
            features: Bytes of features of the wanted batch.
        """
        temporaries = first.memory["temporaries"]
        growing = max(_AT_ONCE * features * first.batch / target.batch, temporaries, 1.0)
        room = _FILLED * chip.usable - (first.needed - temporaries)
        batch = _whole(first.batch * room / growing, target.micro_batches)
        for _ in range(_TRIES):
            if batch <= first.batch:
                break
            second, _ = self._compile(target, batch, chip)
            if second.fits:
                return second
            share = chip.usable / second.needed if second.needed else 0.5
            batch = _whole(batch * min(_FILLED * share, 0.5), target.micro_batches)
        # The first fills most of the chip: a smaller one gives the line as well.
        batch = _whole(first.batch / 2, target.micro_batches)
        if batch == first.batch:
            batch = 2 * first.batch
        second, _ = self._compile(target, batch, chip)
        return second if second.fits else None

    def _confirmed(self, row: Row, target: Target, chip: Chip, first: Compiled, line: Line) -> Row:
        """Compiles the largest batch; one that does not fit is made smaller and tried again."""
        largest = row.largest or 0
        for _ in range(_TRIES):
            if largest <= first.batch:
                return dataclasses.replace(row, largest=first.batch, confirmed=True)
            last, _ = self._compile(target, largest, chip)
            if last.fits:
                return dataclasses.replace(
                    row,
                    largest=largest,
                    confirmed=True,
                    predicted=line.at(largest),
                    found=last.needed,
                )
            share = chip.usable / last.needed if last.needed else 0.9
            largest = _whole(largest * min(share, 0.97), target.micro_batches)
        return dataclasses.replace(row, largest=largest, confirmed=False)

    def _compile(
        self, target: Target, batch: int, chip: Chip
    ) -> tuple[Compiled, Mapping[str, Any]]:
        """Compiles one batch size, or remembers it."""
        lowered = self._lower(target, batch)
        made_by = {**compiling.versions(), "inspection": str(EDITION)}
        key = self._cache.key(lowered.fingerprint, chip.name, made_by)
        answer = self._cache.get(key)
        if answer is None:
            self._progress(f"{target.name}, batch {batch}: compiling for {chip.name}")
            request = {"hlo": lowered.path, "topology": chip.topology}
            given = self._ask(
                compiling.__name__,
                request,
                seconds=self._seconds,
                environment=compiling.NO_TPU,
            )
            if given.error:
                # A crash or a limit may pass; nothing is kept of it.
                raise Failed(f"compiling for {chip.name}, batch {batch}: {given.error}")
            answer = dict(given.values)
            self._cache.put(key, answer)
        about = {**lowered.about, **answer}
        if "refused" in answer and not answer.get("no_room"):
            problems = Inspection.from_json(answer["inspection"]).problems(target_is_low(target))
            hint = f" ({'; '.join(problems)})" if problems else ""
            raise Failed(f"the compiler refuses it: {answer['refused']}{hint}")
        return _compiled(batch, answer), about

    def _lower(self, target: Target, batch: int) -> _Lowered:
        known = self._lowered.get((target.name, batch))
        if known is not None:
            return known
        self._progress(f"{target.name}, batch {batch}: tracing")
        path = os.path.join(self._folder.name, f"{len(self._lowered)}.hlo")
        answer = self._ask(
            f"{__package__}.lowering",
            {**target.request(batch), "hlo": path},
            seconds=self._seconds,
            # Nothing of a GPU is wanted for it.
            environment={"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        if answer.error:
            raise Failed(f"tracing batch {batch}: {answer.error}")
        lowered = _Lowered(path, answer.values["fingerprint"], answer.values)
        self._lowered[target.name, batch] = lowered
        return lowered


def target_is_low(target: Target) -> bool:
    """Tells whether a run computes in bfloat16 on a TPU."""
    return target.run_config.runtime.precision != "float32"


def _compiled(batch: int, answer: Mapping[str, Any]) -> Compiled:
    if "refused" in answer:
        seconds = answer["seconds"]
        return Compiled(batch, False, answer.get("needed", 0), {}, 0.0, 0.0, seconds)
    # XLA counts what stands in a loop once.
    times = Inspection.from_json(answer["inspection"]).repetition
    return Compiled(
        batch=batch,
        fits=True,
        needed=fit.needed_bytes(answer["memory"]),
        memory=answer["memory"],
        flops=answer["flops"] * times,
        bytes_accessed=answer["bytes_accessed"] * times,
        seconds=answer["seconds"],
    )


def _whole(batch: float, multiple: int) -> int:
    return max(multiple, int(batch) // multiple * multiple)
