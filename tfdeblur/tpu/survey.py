"""Compiles a run for a chip, lays out the memory of other batch sizes, and says what follows.

To lay out is to compile until every value has its place; see `layout`. It takes seconds where all
of the compilation takes minutes, and its bytes are the compiler's own.
"""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Answer
from tfdeblur.tpu import compiling, fit
from tfdeblur.tpu.cache import Cache
from tfdeblur.tpu.chips import GIB, Chip
from tfdeblur.tpu.fit import Compiled
from tfdeblur.tpu.inspection import EDITION, Inspection
from tfdeblur.tpu.table import Row
from tfdeblur.tpu.targets import Target

# How much of the memory the second batch is to fill at most. Close to the end the compiler begins
# to compute things twice to save room; far from it features stay inside the chip, and the line
# through two small batches would promise too much. On large chips it need not be more than on small
# ones, and a step that was traced for one serves all.
_FILLED = 0.7
_ENOUGH = 11 * GIB

# What a step needs at once is less than half of all features that it ever makes.
_AT_ONCE = 0.5

# How often a batch size that did not fit is made smaller.
_TRIES = 4

# How often the largest batch is sought, and how close is close enough. One that leaves more of the
# memory free than this is tried larger: what two batches foretell is too much room for each image
# where the compiler makes use of what is free.
_TRIES_FOR_LARGEST = 6
_CLOSE = 0.03
_FULL = 0.85


# Lays out a batch size.
_Place = Callable[[int], Compiled]


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
        ask: Callable[..., Answer] = subprocesses.ask,
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

    def row(
        self, target: Target, chip: Chip, *, confirm: bool = False, memory_only: bool = False
    ) -> Row:
        """Compiles for one chip.

        Args:
            target: What is compiled.
            chip: What for.
            confirm: Compile the largest batch as well, and do not only lay it out.
            memory_only: Lay out the wanted batch, too, and compile nothing to the end. What was
                compiled before is remembered all the same.

        Returns:
            What was found; a step that cannot be compiled is a row that says so.
        """
        row = Row.of(target, chip)
        try:
            if memory_only and not self._remembers(target, target.batch, chip):
                row = dataclasses.replace(row, memory_only=True)
            memory_only = row.memory_only
            first, about = self._first(target, target.batch, chip, memory_only)
            row = row.described(about)
            if not first.fits:
                row = row.without_room(first)
                smaller = self._smaller(target, first, chip)
                if smaller is None:
                    return dataclasses.replace(row, largest=0)
                first, _ = self._first(target, smaller, chip, memory_only)
            row = row.measured(first, chip)
            rest = 0
            if not memory_only:
                # What a layout leaves out: above all the program itself.
                rest = first.needed - self._lay_out(target, first.batch, chip).needed
            place = functools.partial(self._lay_out, target, chip=chip, rest=rest)
            second = self._second(place, target, first, chip, about["inspection"]["features"])
            if second is None:
                return dataclasses.replace(row, largest=first.batch)
            largest = self._largest(place, target, first, second, chip)
            row = row.filled(largest, fit.through(first, second))
            if confirm or self._remembers(target, largest.batch, chip):
                return self._confirmed(row, target, chip, first)
            return row
        except Failed as failure:
            return dataclasses.replace(row, error=str(failure))

    def _first(
        self, target: Target, batch: int, chip: Chip, memory_only: bool
    ) -> tuple[Compiled, Mapping[str, Any]]:
        """Compiles a batch, or only lays it out, and says what is to be said of it."""
        about = self._ask_compiler(target, batch, chip, whole=not memory_only, inspect=True)
        return _compiled(batch, about), about

    def _lay_out(self, target: Target, batch: int, chip: Chip, rest: int = 0) -> Compiled:
        """Lays out the memory of a batch, and adds the rest that layouts do not know."""
        about = self._ask_compiler(target, batch, chip, whole=False)
        laid = _compiled(batch, about)
        needed = laid.needed + rest if laid.fits else laid.needed
        return dataclasses.replace(laid, needed=needed, fits=laid.fits and needed <= chip.usable)

    def _smaller(self, target: Target, tried: Compiled, chip: Chip) -> int | None:
        """Finds a batch that fits, beginning below one that did not."""
        for _ in range(_TRIES):
            if tried.batch == target.micro_batches:
                return None
            share = chip.usable / tried.needed if tried.needed else 0.5
            batch = _whole(tried.batch * min(0.8 * share, 0.5), target.micro_batches)
            tried = self._lay_out(target, batch, chip)
            if tried.fits:
                return batch
        return None

    def _second(
        self, place: _Place, target: Target, first: Compiled, chip: Chip, features: int
    ) -> Compiled | None:
        """Lays out another batch, so large that it fills a good part of the memory.

        Args:
            place: Lays out a batch.
            target: What is compiled.
            first: A batch that fits.
            chip: What for.
            features: Bytes of features of the wanted batch.
        """
        temporaries = first.memory["temporaries"]
        growing = max(_AT_ONCE * features * first.batch / target.batch, temporaries, 1.0)
        room = min(_FILLED * chip.usable, _ENOUGH) - (first.needed - temporaries)
        batch = _whole(_rounded(first.batch * room / growing), target.micro_batches)
        for _ in range(_TRIES):
            if batch <= first.batch:
                break
            second = place(batch)
            if second.fits:
                return second
            share = chip.usable / second.needed if second.needed else 0.5
            batch = _whole(batch * min(_FILLED * share, 0.5), target.micro_batches)
        # The first fills most of the chip: a smaller one gives the line as well.
        batch = _whole(first.batch / 2, target.micro_batches)
        if batch == first.batch:
            batch = 2 * first.batch
        second = place(batch)
        return second if second.fits else None

    def _largest(
        self, place: _Place, target: Target, first: Compiled, second: Compiled, chip: Chip
    ) -> Compiled:
        """Lays out the batch that two others foretell, and closes in on the largest from there."""
        line = fit.through(first, second)
        known = max(first, second, key=lambda one: one.batch)
        if line.each <= 0:  # They foretell nothing, but both fit.
            return known
        batch, multiple = line.largest(chip.usable, target.micro_batches), target.micro_batches
        too_large = None
        for _ in range(_TRIES_FOR_LARGEST):
            if batch <= known.batch:
                break
            last = place(batch)
            share = 0.0
            if last.fits:
                known = last
            else:
                # What a batch without room would need is an estimate, and good for one step.
                if last.needed and too_large is None:
                    share = 0.99 * chip.usable / last.needed
                too_large = batch
            if too_large is None:
                batch = _larger(first, known, chip, multiple)
            else:
                batch = _between(known.batch, too_large, share, multiple)
        return known

    def _confirmed(self, row: Row, target: Target, chip: Chip, first: Compiled) -> Row:
        """Compiles the largest batch to the end."""
        assert row.largest is not None
        if row.largest == first.batch:
            return dataclasses.replace(row, confirmed=True)
        about = self._ask_compiler(target, row.largest, chip, whole=True, inspect=True)
        last = _compiled(row.largest, about)
        found = last.needed or row.found
        return dataclasses.replace(row, confirmed=last.fits, found=found)

    def _ask_compiler(
        self, target: Target, batch: int, chip: Chip, *, whole: bool, inspect: bool = False
    ) -> Mapping[str, Any]:
        """Returns what is known of a batch, from the compiler or remembered.

        Args:
            target: What is compiled.
            batch: Images of one replica in one batch.
            chip: What for.
            whole: Compile to the end, and not only until the memory is laid out.
            inspect: Look at the operations as well.
        """
        key = self._key(target, batch, chip, whole, inspect)
        answer: Mapping[str, Any] | None = self._cache.get(key)
        if answer is None and not inspect:
            # An answer to more than is asked.
            answer = self._cache.get(self._key(target, batch, chip, whole, inspect=True))
        if answer is None:
            doing = "compiling" if whole else "laying out"
            self._progress(f"{target.name}, batch {batch}: {doing} for {chip.name}")
            answer = self._answer(target, batch, chip, whole, inspect)
            self._cache.put(key, answer)
        if "refused" in answer and not answer.get("no_room"):
            hint = ""
            if inspect:
                seen = Inspection.from_json(answer["inspection"])
                hint = "; ".join(seen.problems(target_is_low(target)))
            raise Failed(
                f"the compiler refuses it: {answer['refused']}{f' ({hint})' if hint else ''}"
            )
        return {**self._lower(target, batch).about, **answer}

    def _key(self, target: Target, batch: int, chip: Chip, whole: bool, inspect: bool) -> str:
        """Returns the name under which an answer is remembered."""
        made_by = {**compiling.versions()}
        if inspect:
            made_by["inspection"] = str(EDITION)
        if not whole:
            made_by["until"] = "layout"
        return self._cache.key(self._lower(target, batch).fingerprint, chip.name, made_by)

    def _remembers(self, target: Target, batch: int, chip: Chip) -> bool:
        """Tells whether a batch was compiled to the end before."""
        key = self._key(target, batch, chip, whole=True, inspect=True)
        return self._cache.get(key) is not None

    def _answer(
        self, target: Target, batch: int, chip: Chip, whole: bool, inspect: bool
    ) -> Mapping[str, Any]:
        """Asks the compiler."""
        path = self._lower(target, batch).path
        request = {"hlo": path, "topology": chip.topology, "inspect": inspect}
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            given = self._ask(
                compiling.__name__,
                request if whole else {**request, "layout": folder},
                seconds=self._seconds,
                environment=compiling.NO_TPU,
            )
        if given.error:
            # A crash or a limit may pass; nothing is kept of it.
            raise Failed(f"compiling for {chip.name}, batch {batch}: {given.error}")
        return given.values

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
        return Compiled(batch, False, answer.get("needed", 0), {}, 0.0, None, seconds)
    # XLA counts what stands in a loop once.
    seen = answer.get("inspection")
    times = Inspection.from_json(seen).repetition if seen else 1.0
    moved = answer.get("bytes_accessed")
    return Compiled(
        batch=batch,
        fits=True,
        needed=fit.needed_bytes(answer["memory"]),
        memory=answer["memory"],
        flops=answer["flops"] * times,
        bytes_accessed=None if moved is None else moved * times,
        seconds=answer["seconds"],
    )


def _larger(first: Compiled, known: Compiled, chip: Chip, multiple: int) -> int:
    """Returns a batch to try after one that fits, which is returned where it fills the memory."""
    if known.needed >= _FULL * chip.usable:
        return known.batch
    line = fit.through(first, known)
    double = 2 * known.batch
    return min(double, line.largest(chip.usable, multiple)) if line.each > 0 else double


def _between(known: int, too_large: int, share: float, multiple: int) -> int:
    """Returns a batch to try between one that fits and one that does not; the former if close.

    Args:
        known: Fits.
        too_large: Does not.
        share: Share of the latter that has room by an estimate; 0 without one.
        multiple: What a batch is divided by.
    """
    if too_large - known <= max(multiple, _CLOSE * too_large):
        return known
    middle = (known + too_large) / 2
    return _whole(max(middle, min(share, 1 - _CLOSE) * too_large), multiple)


def _rounded(batch: float) -> int:
    """Rounds down to three binary digits, so that chips which differ by little ask for the same."""
    unit = 1 << max(int(batch).bit_length() - 3, 0)
    return int(batch) // unit * unit


def _whole(batch: float, multiple: int) -> int:
    return max(multiple, int(batch) // multiple * multiple)
