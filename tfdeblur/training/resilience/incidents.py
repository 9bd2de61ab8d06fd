"""What went wrong in a run and was survived: steps left out, and returns to a checkpoint.

They are kept in ``WORKDIR/incidents.json``, beside the checkpoints and not in them, because going
back to a checkpoint must not forget that it happened. Each incident has the count of images at
which the run stood after it; a run that goes on from an earlier checkpoint drops those that lie
ahead of it, for they will happen again.
"""

import json
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files

INCIDENTS = "incidents.json"

# Occurrences that are told one by one; after them the progress line goes on counting.
_MOST_TOLD = 10


# What each kind says besides the count of images.
_NUMBERS = {"skip": ("steps",), "rollback": ("left", "rate_factor")}


def _checked(entry: Any) -> dict[str, Any]:
    """Returns an entry if it is one."""
    for name in ("images", *_NUMBERS[entry["kind"]]):
        if isinstance(entry[name], bool) or not isinstance(entry[name], int | float):
            raise ValueError(f"{name} is {entry[name]!r}")
    return dict(entry)


class Incidents:
    """The list of a run's incidents.

    Args:
        source: The run's folder, from which the list is read.
        output: Where it is written; the same folder, but for the helpers of a cluster's chief.
        images: Where the run stands.

    Raises:
        UserError: The list is there and cannot be read.
    """

    def __init__(self, source: str, output: str, images: int) -> None:
        self._path = files.join(output, INCIDENTS)
        self._entries: list[dict[str, Any]] = []
        self._told = 0
        path = files.join(source, INCIDENTS)
        if files.exists(path):
            try:
                entries = [_checked(entry) for entry in files.read_json(path)]
            except (UserError, TypeError, KeyError, ValueError) as error:
                raise UserError(
                    f"{path} is damaged ({error}). Remove it to go on without its counts of "
                    "skipped steps, and with full learning rates if the run had gone back to a "
                    "checkpoint."
                ) from error
            self._entries = [entry for entry in entries if entry["images"] <= images]
        if self.rollbacks:
            tqdm.write(
                f"This run has gone back {self.rollbacks} time{'s'[: self.rollbacks != 1]}: its "
                f"learning rates are multiplied by {self.rate_scale:g}, and those returns count "
                "for guards.most_rollbacks. To begin with full rates and a new count, remove "
                f"{path}."
            )

    @property
    def skipped(self) -> int:
        """Steps that were left out so far."""
        return sum(entry["steps"] for entry in self._entries if entry["kind"] == "skip")

    @property
    def rollbacks(self) -> int:
        """How often the run went back so far."""
        return sum(entry["kind"] == "rollback" for entry in self._entries)

    @property
    def rate_scale(self) -> float:
        """What the learning rates are multiplied by."""
        scale = 1.0
        for entry in self._entries:
            scale *= entry.get("rate_factor", 1.0)
        return scale

    def counts(self) -> dict[str, float]:
        """Returns scalars for the history: nothing for a run in which nothing went wrong."""
        counts = {"skipped_steps": float(self.skipped), "rollbacks": float(self.rollbacks)}
        return {f"guards/{name}": value for name, value in counts.items() if value}

    def add_skip(self, images: int, steps: int, names: str) -> None:
        """Notes that steps were left out.

        Args:
            images: Images seen after the compiled call in which that happened.
            steps: How many steps of it.
            names: Which scalars were not finite in the first of them.
        """
        self._entries.append({"kind": "skip", "images": images, "steps": steps, "what": names})
        self._write()
        self._told += 1
        if self._told <= _MOST_TOLD:
            more = " Further ones are only counted." if self._told == _MOST_TOLD else ""
            tqdm.write(
                f"warning: {steps} step{'s'[: steps != 1]} before image {images:,} had no effect: "
                f"{names} was not finite; {self.skipped:,} skipped so far.{more}"
            )

    def add_rollback(self, images: int, left: int, factor: float, why: str) -> None:
        """Notes that the run went back.

        Args:
            images: Images seen at the checkpoint that it went back to.
            left: Images seen when it did.
            factor: What the learning rates are multiplied by from there.
            why: What had happened.
        """
        self._entries = [entry for entry in self._entries if entry["images"] <= images]
        self._entries.append(
            {
                "kind": "rollback",
                "images": images,
                "left": left,
                "rate_factor": factor,
                "what": why,
            }
        )
        self._write()

    def _write(self) -> None:
        files.write_text(self._path, json.dumps(self._entries, indent=1) + "\n")
