"""Log of skipped steps and rollbacks, in ``WORKDIR/incidents.json``.

The file lies beside the checkpoints and not in them, because a rollback must not undo its own
record. An incident has the image count after it; a run that resumes from an earlier checkpoint
drops later incidents, because they will happen again.
"""

import json
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files

INCIDENTS = "incidents.json"

# Skips that are reported one by one; the progress line counts them all.
_MAX_REPORTED = 10

# Numbers of each kind of incident, besides the image count.
_NUMBERS = {"skip": ("steps",), "rollback": ("left", "rate_factor")}


def _checked(entry: Any) -> dict[str, Any]:
    """Returns an entry of the file; raises an exception if it is malformed."""
    for name in ("images", *_NUMBERS[entry["kind"]]):
        if isinstance(entry[name], bool) or not isinstance(entry[name], int | float):
            raise ValueError(f"{name} is {entry[name]!r}")
    return dict(entry)


class Incidents:
    """The incidents of a run.

    Args:
        source: The work directory, from which they are read.
        output: The folder to write to; another one only for workers other than the chief.
        images: Images seen.

    Raises:
        UserError: The file is damaged or cannot be read.
    """

    def __init__(self, source: str, output: str, images: int) -> None:
        self._path = files.join(output, INCIDENTS)
        self._entries: list[dict[str, Any]] = []
        self._reported = 0
        path = files.join(source, INCIDENTS)
        if files.exists(path):
            try:
                entries = [_checked(entry) for entry in files.read_json(path)]
            except (UserError, TypeError, KeyError, ValueError) as error:
                raise UserError(
                    f"{path} is damaged ({error}). Remove it to continue without its counts of "
                    "skipped steps, and with full learning rates if the run had been rolled back."
                ) from error
            self._entries = [entry for entry in entries if entry["images"] <= images]
        if self.rollbacks:
            tqdm.write(
                f"This run was rolled back {self.rollbacks} time{'s'[: self.rollbacks != 1]}: its "
                f"learning rates are multiplied by {self.rate_scale:g}, and those rollbacks count "
                "towards guards.max_rollbacks. For full rates and a new count, remove "
                f"{path}."
            )

    @property
    def skipped(self) -> int:
        """Number of skipped steps so far."""
        return sum(entry["steps"] for entry in self._entries if entry["kind"] == "skip")

    @property
    def rollbacks(self) -> int:
        """Number of rollbacks so far."""
        return sum(entry["kind"] == "rollback" for entry in self._entries)

    @property
    def rate_scale(self) -> float:
        """The factor of all learning rates."""
        scale = 1.0
        for entry in self._entries:
            scale *= entry.get("rate_factor", 1.0)
        return scale

    def counts(self) -> dict[str, float]:
        """Returns scalars for the history; empty for a run without incidents."""
        counts = {"skipped_steps": float(self.skipped), "rollbacks": float(self.rollbacks)}
        return {f"guards/{name}": value for name, value in counts.items() if value}

    def add_skip(self, images: int, steps: int, names: str) -> None:
        """Records skipped steps and warns about the first few.

        Args:
            images: Images seen after the compiled call in which it happened.
            steps: Number of skipped steps in that call.
            names: The scalars that were not finite in the first of them.
        """
        self._entries.append({"kind": "skip", "images": images, "steps": steps, "what": names})
        self._write()
        self._reported += 1
        if self._reported <= _MAX_REPORTED:
            more = " Further ones are only counted." if self._reported == _MAX_REPORTED else ""
            tqdm.write(
                f"warning: skipped {steps} step{'s'[: steps != 1]} before image {images:,}: "
                f"{names} was not finite; {self.skipped:,} skipped so far.{more}"
            )

    def add_rollback(self, images: int, left: int, factor: float, why: str) -> None:
        """Records a rollback.

        Args:
            images: Images seen at the checkpoint that was restored.
            left: Images seen before the rollback.
            factor: Factor of the learning rates from there on.
            why: The error that led to it.
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
