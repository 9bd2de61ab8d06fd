"""The interface between the training loop and the framework that runs its steps.

An engine turns networks, an objective, optimizers and batches into an updated `TrainingState`.
Everything that counts images, reports, validates and saves is above it and is the same for every
engine; networks, losses, objectives and schedules are below it and use Keras alone.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# The scalar that is 1 if the step was reverted because it produced non-finite values, else 0.
SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class StepResults:
    """Results of several steps, read back to the host.

    Attributes:
        steps: Number of steps.
        sums: Sums of the scalars over the steps that were not skipped, without `SKIPPED`.
        skipped: Number of steps that were reverted.
        skips_in_a_row: Skipped steps in a row at the end, continued from earlier calls.
        max_skips_in_a_row: The maximum of that over the steps.
        first_nonfinite: Index of the first step with non-finite values, or None.
        nonfinite: Names of its scalars that are not finite; empty if only weights are not.
        waited: Seconds in which the devices waited for data; NaN if unknown.
    """

    steps: int
    sums: Mapping[str, float]
    skipped: int = 0
    skips_in_a_row: int = 0
    max_skips_in_a_row: int = 0
    first_nonfinite: int | None = None
    nonfinite: tuple[str, ...] = ()
    waited: float = 0.0


class Engine(abc.ABC):
    """Runs training steps on the devices of a job.

    Attributes:
        several_workers: Whether other processes run the same steps.
    """

    several_workers: bool

    @abc.abstractmethod
    def run_steps(self, batches: Iterator[Any], steps: int, skips_in_a_row: int) -> StepResults:
        """Runs steps, which update the state and its image count, and waits for the results.

        Args:
            batches: The job's batches, in the form in which the engine distributes them.
            steps: Number of steps.
            skips_in_a_row: Steps that were skipped in a row right before.
        """

    @abc.abstractmethod
    def any_worker(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker; all workers must call it.

        Args:
            flags: At least one.
        """
