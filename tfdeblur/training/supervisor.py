"""The interface through which a guard watches a trainer's run."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from tfdeblur.training.loop import Diverged
    from tfdeblur.training.resilience.lock import WorkdirLock


class Supervisor:
    """Leaves a run unguarded; `resilience.guarded_run` has the subclass that guards it.

    Attributes:
        lock: The run's hold on its work directory, if any.
    """

    lock: "WorkdirLock | None" = None

    def watch(self, steps: int) -> AbstractContextManager[None]:
        """Surrounds a call of `steps` training steps, or a vote among the workers (0)."""
        return contextlib.nullcontext()

    def stop_requested(self) -> bool:
        """Returns whether the loop should stop after the current call."""
        return False

    def before_validation_batch(self) -> None:
        """Runs before each batch of a validation, which it ends by raising."""

    def on_skipped_steps(self, images: int, steps: int, names: str) -> None:
        """Runs after a call in which steps were skipped.

        Args:
            images: Images seen after that call.
            steps: Number of skipped steps.
            names: The scalars that were not finite in the first of them.
        """
        tqdm.write(
            f"warning: skipped {steps} step{'s'[: steps != 1]} before image {images:,}: "
            f"{names} was not finite."
        )

    def on_divergence(self, error: "Diverged") -> None:
        """Runs if training diverged; raises the error unless training can continue."""
        raise error

    def incident_counts(self) -> Mapping[str, float]:
        """Returns counts of skipped steps and rollbacks, for logs."""
        return {}
