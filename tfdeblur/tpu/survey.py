"""Compiles a run for a chip, and finds the largest batch size that fits.

Other batch sizes are only laid out: compiled until every value has a place in memory; see `layout`.
That takes seconds instead of minutes, and gives the compiler's exact sizes.
"""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply
from tfdeblur.tpu import compiling, fit
from tfdeblur.tpu.cache import Cache
from tfdeblur.tpu.chips import GIB, Chip
from tfdeblur.tpu.fit import Compiled
from tfdeblur.tpu.inspection import EDITION, Inspection
from tfdeblur.tpu.table import Row
from tfdeblur.tpu.targets import Target

# Maximum share of the memory, and maximum bytes, of the second batch size. Near the limit the
# compiler recomputes values to save memory; far below it features stay on the chip, and a line
# through two small batches would be too optimistic. The limit in bytes makes chips of different
# size share a traced step.
_MAX_SECOND_SHARE = 0.7
_MAX_SECOND_BYTES = 11 * GIB

# Less than half of all features of a step are alive at once.
_MAX_ALIVE_SHARE = 0.5

# How often a batch size that did not fit is reduced.
_MAX_REDUCTIONS = 4

# The search for the largest batch: maximum layouts, and the gap between a batch that fits and one
# that does not at which it stops. Below `_FULL` of the memory larger batches are tried, because the
# compiler spends free memory, so the line through two batches overestimates.
_MAX_SEARCH_LAYOUTS = 6
_MAX_GAP = 0.03
_FULL = 0.85


# Lays out a batch size.
_LayOut = Callable[[int], Compiled]


class Failed(Exception):
    """A step could not be compiled, for another reason than memory; the message gives it."""


@dataclasses.dataclass(frozen=True)
class _Lowered:
    """A step as HLO, in a temporary file."""

    path: str
    fingerprint: str
    about: Mapping[str, Any]


class Surveyor:
    """Traces steps with TensorFlow and compiles them with libtpu, each in a subprocess.

    Args:
        cache: The compiler's earlier replies.
        seconds: Timeout of each subprocess.
        progress: Called with a description of each operation before it starts.
        call: Runs a subprocess; replaced by tests.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        seconds: float,
        progress: Callable[[str], None] = lambda text: None,
        call: Callable[..., Reply] = subprocesses.call,
    ) -> None:
        self._cache = cache
        self._seconds = seconds
        self._progress = progress
        self._call = call
        self._folder = tempfile.TemporaryDirectory(prefix="tfdeblur-")
        self._lowered: dict[tuple[str, int], _Lowered] = {}

    def close(self) -> None:
        """Removes the temporary files."""
        self._folder.cleanup()

    def __enter__(self) -> "Surveyor":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def row(
        self, target: Target, chip: Chip, *, confirm: bool = False, memory_only: bool = False
    ) -> Row:
        """Compiles a target for a chip.

        Args:
            target: The target.
            chip: The chip.
            confirm: Whether to compile the largest batch completely instead of laying it out only.
            memory_only: Whether to only lay out the requested batch, too, unless the cache contains
                its complete compilation.

        Returns:
            The row of the table. If the step cannot be compiled, it contains the error.
        """
        row = Row.of(target, chip)
        try:
            if memory_only and not self._is_compiled(target, target.batch, chip):
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
                # Bytes that a layout does not include, mainly the program itself.
                rest = first.needed - self._lay_out(target, first.batch, chip).needed
            lay_out = functools.partial(self._lay_out, target, chip=chip, rest=rest)
            second = self._second(lay_out, target, first, chip, about["inspection"]["features"])
            if second is None:
                return dataclasses.replace(row, largest=first.batch)
            largest = self._largest(lay_out, target, first, second, chip)
            row = row.filled(largest, fit.through(first, second))
            if confirm or self._is_compiled(target, largest.batch, chip):
                return self._confirmed(row, target, chip, first)
            return row
        except Failed as failure:
            return dataclasses.replace(row, error=str(failure))

    def _first(
        self, target: Target, batch: int, chip: Chip, memory_only: bool
    ) -> tuple[Compiled, Mapping[str, Any]]:
        """Compiles or lays out a batch, and returns the result and the full reply."""
        about = self._compile(target, batch, chip, complete=not memory_only, inspect=True)
        return _compiled(batch, about), about

    def _lay_out(self, target: Target, batch: int, chip: Chip, rest: int = 0) -> Compiled:
        """Lays out a batch, and adds `rest` bytes that layouts do not include."""
        about = self._compile(target, batch, chip, complete=False)
        laid = _compiled(batch, about)
        needed = laid.needed + rest if laid.fits else laid.needed
        return dataclasses.replace(laid, needed=needed, fits=laid.fits and needed <= chip.usable)

    def _smaller(self, target: Target, tried: Compiled, chip: Chip) -> int | None:
        """Returns a batch size that fits, below one that did not; None if none is found."""
        for _ in range(_MAX_REDUCTIONS):
            if tried.batch == target.micro_batches:
                return None
            share = chip.usable / tried.needed if tried.needed else 0.5
            batch = _multiple(tried.batch * min(0.8 * share, 0.5), target.micro_batches)
            tried = self._lay_out(target, batch, chip)
            if tried.fits:
                return batch
        return None

    def _second(
        self, lay_out: _LayOut, target: Target, first: Compiled, chip: Chip, features: int
    ) -> Compiled | None:
        """Lays out a second batch size, which fills a large part of the memory if possible.

        Args:
            lay_out: Lays out a batch size.
            target: The target.
            first: A batch size that fits.
            chip: The chip.
            features: Bytes of features of the requested batch.
        """
        temporaries = first.memory["temporaries"]
        growing = max(_MAX_ALIVE_SHARE * features * first.batch / target.batch, temporaries, 1.0)
        free = min(_MAX_SECOND_SHARE * chip.usable, _MAX_SECOND_BYTES)
        free -= first.needed - temporaries
        batch = _multiple(_rounded(first.batch * free / growing), target.micro_batches)
        for _ in range(_MAX_REDUCTIONS):
            if batch <= first.batch:
                break
            second = lay_out(batch)
            if second.fits:
                return second
            share = chip.usable / second.needed if second.needed else 0.5
            batch = _multiple(batch * min(_MAX_SECOND_SHARE * share, 0.5), target.micro_batches)
        # The first fills most of the chip; a smaller one gives a line, too.
        batch = _multiple(first.batch / 2, target.micro_batches)
        if batch == first.batch:
            batch = 2 * first.batch
        second = lay_out(batch)
        return second if second.fits else None

    def _largest(
        self, lay_out: _LayOut, target: Target, first: Compiled, second: Compiled, chip: Chip
    ) -> Compiled:
        """Finds the largest batch size that fits, starting from the one that a line predicts."""
        line = fit.through(first, second)
        known = max(first, second, key=lambda one: one.batch)
        if line.each <= 0:  # no prediction
            return known
        batch, multiple = line.largest(chip.usable, target.micro_batches), target.micro_batches
        too_large = None
        for _ in range(_MAX_SEARCH_LAYOUTS):
            if batch <= known.batch:
                break
            last = lay_out(batch)
            share = 0.0
            if last.fits:
                known = last
            else:
                # The compiler's size of a batch that does not fit is an estimate; it is used once.
                if last.needed and too_large is None:
                    share = 0.99 * chip.usable / last.needed
                too_large = batch
            if too_large is None:
                batch = _larger(first, known, chip, multiple)
            else:
                batch = _between(known.batch, too_large, share, multiple)
        return known

    def _confirmed(self, row: Row, target: Target, chip: Chip, first: Compiled) -> Row:
        """Compiles the largest batch completely."""
        assert row.largest is not None
        if row.largest == first.batch:
            return dataclasses.replace(row, confirmed=True)
        about = self._compile(target, row.largest, chip, complete=True, inspect=True)
        last = _compiled(row.largest, about)
        found = last.needed or row.found
        return dataclasses.replace(row, confirmed=last.fits, found=found)

    def _compile(
        self, target: Target, batch: int, chip: Chip, *, complete: bool, inspect: bool = False
    ) -> Mapping[str, Any]:
        """Returns the replies of lowering and compiling a batch, from the cache if possible.

        Args:
            target: The target.
            batch: Batch size of one replica.
            chip: The chip.
            complete: Whether to compile completely instead of laying out only.
            inspect: Whether to inspect the operations.

        Raises:
            Failed: The compiler failed, for another reason than memory.
        """
        key = self._key(target, batch, chip, complete, inspect)
        reply: Mapping[str, Any] | None = self._cache.get(key)
        if reply is None and not inspect:
            # A reply with an inspection contains the rest, too.
            reply = self._cache.get(self._key(target, batch, chip, complete, inspect=True))
        if reply is None:
            action = "compiling" if complete else "laying out"
            self._progress(f"{target.name}, batch {batch}: {action} for {chip.name}")
            reply = self._call_compiler(target, batch, chip, complete, inspect)
            self._cache.put(key, reply)
        if "refused" in reply and not reply.get("no_room"):
            hint = ""
            if inspect:
                inspection = Inspection.from_json(reply["inspection"])
                hint = "; ".join(inspection.problems(target.bfloat16))
            raise Failed(f"the compiler failed: {reply['refused']}{f' ({hint})' if hint else ''}")
        return {**self._lower(target, batch).about, **reply}

    def _key(self, target: Target, batch: int, chip: Chip, complete: bool, inspect: bool) -> str:
        """Returns the cache key of a reply."""
        versions = {**compiling.versions()}
        if inspect:
            versions["inspection"] = str(EDITION)
        if not complete:
            versions["until"] = "layout"
        return self._cache.key(self._lower(target, batch).fingerprint, chip.name, versions)

    def _is_compiled(self, target: Target, batch: int, chip: Chip) -> bool:
        """Returns whether the cache contains the complete compilation of a batch."""
        key = self._key(target, batch, chip, complete=True, inspect=True)
        return self._cache.get(key) is not None

    def _call_compiler(
        self, target: Target, batch: int, chip: Chip, complete: bool, inspect: bool
    ) -> Mapping[str, Any]:
        """Returns the compiler's reply."""
        path = self._lower(target, batch).path
        request = {"hlo": path, "topology": chip.topology, "inspect": inspect}
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            reply = self._call(
                compiling.__name__,
                request if complete else {**request, "layout": folder},
                seconds=self._seconds,
                environment=compiling.NO_TPU,
            )
        if reply.error:
            # Not cached, because a crash or timeout may not happen again.
            raise Failed(f"compiling for {chip.name}, batch {batch}: {reply.error}")
        return reply.values

    def _lower(self, target: Target, batch: int) -> _Lowered:
        known = self._lowered.get((target.name, batch))
        if known is not None:
            return known
        self._progress(f"{target.name}, batch {batch}: tracing")
        path = os.path.join(self._folder.name, f"{len(self._lowered)}.hlo")
        reply = self._call(
            f"{__package__}.lowering",
            {**target.request(batch), "hlo": path},
            seconds=self._seconds,
            # Hides GPUs from TensorFlow.
            environment={"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        if reply.error:
            raise Failed(f"tracing batch {batch}: {reply.error}")
        lowered = _Lowered(path, reply.values["fingerprint"], reply.values)
        self._lowered[target.name, batch] = lowered
        return lowered


def _compiled(batch: int, reply: Mapping[str, Any]) -> Compiled:
    if "refused" in reply:
        seconds = reply["seconds"]
        return Compiled(batch, False, reply.get("needed", 0), {}, 0.0, None, seconds)
    # XLA counts the operations of a loop once.
    inspection = reply.get("inspection")
    times = Inspection.from_json(inspection).repetition if inspection else 1.0
    moved = reply.get("bytes_accessed")
    return Compiled(
        batch=batch,
        fits=True,
        needed=fit.needed_bytes(reply["memory"]),
        memory=reply["memory"],
        flops=reply["flops"] * times,
        bytes_accessed=None if moved is None else moved * times,
        seconds=reply["seconds"],
    )


def _larger(first: Compiled, known: Compiled, chip: Chip, multiple: int) -> int:
    """Returns the next batch size to try, or that of `known` if it fills the memory."""
    if known.needed >= _FULL * chip.usable:
        return known.batch
    line = fit.through(first, known)
    double = 2 * known.batch
    return min(double, line.largest(chip.usable, multiple)) if line.each > 0 else double


def _between(known: int, too_large: int, share: float, multiple: int) -> int:
    """Returns a batch size between one that fits and one that does not.

    Args:
        known: Batch size that fits; returned if the gap is small.
        too_large: Batch size that does not fit.
        share: Estimated share of `too_large` that fits; 0 if unknown.
        multiple: The result is a multiple of it.
    """
    if too_large - known <= max(multiple, _MAX_GAP * too_large):
        return known
    middle = (known + too_large) / 2
    return _multiple(max(middle, min(share, 1 - _MAX_GAP) * too_large), multiple)


def _rounded(batch: float) -> int:
    """Rounds down to three binary digits, so that similar chips share a batch size."""
    unit = 1 << max(int(batch).bit_length() - 3, 0)
    return int(batch) // unit * unit


def _multiple(batch: float, multiple: int) -> int:
    """Rounds down to a multiple of `multiple`, at least `multiple`."""
    return max(multiple, int(batch) // multiple * multiple)
