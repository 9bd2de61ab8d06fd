"""The interface between training and the framework that runs its steps.

An engine turns networks, an objective, optimizers and batches into an updated `TrainingState`.
Everything that counts images, reports, validates and saves is above it and is the same for every
engine; networks, losses, objectives and schedules are below it and use Keras alone.
"""

import abc
import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from tfdeblur.config import TrainConfig
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.errors import UserError, WorkerLost
from tfdeblur.execution import Executor
from tfdeblur.metrics import CEILING_DB
from tfdeblur.metrics.psnr import psnr_db
from tfdeblur.objectives.objective import GENERATOR, Objective, View
from tfdeblur.ops.imaging import ValueRange, to_unit
from tfdeblur.ops.precision import Precision
from tfdeblur.ops.shapes import PerExample, Tensor
from tfdeblur.training.state import TrainingState, with_batch_norm_per_replica

if TYPE_CHECKING:
    from tfdeblur.data.pipeline import TrainingData

# The scalar that is 1 if the step was reverted because it produced non-finite values, else 0.
SKIPPED = "skipped"

TRAIN_PSNR = "train/psnr_db"
"""The scalar with the PSNR of training images, averaged over those whose input differs from the
target, as in validation."""

# The share of those images: a step's `TRAIN_PSNR` is a mean over all images, and 0 for the others.
_DIFFERING = "train/differing"


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """What one training step does, for every engine.

    The generator is constant while the critics update, so each batch is generated once and reused
    for every update of the step. This differs in two ways from generating it for each update
    (`share_generator_pass=False`): dropout draws one mask per step, and moving averages of batch
    norm are updated once. With gradient accumulation, keeping the activations of all micro-batches
    would use up the memory that accumulation saves: only the images are kept, and the generator's
    own update generates them again.

    Attributes:
        global_batch: Images in one update, over all devices and micro-batches.
        micro_batches: Number of parts of a device's images. Their gradients are accumulated
            before one update.
        share_generator_pass: Generate each batch once per step.
        fresh_critic_batches: Use a new batch for every update.
        seed: Seeds the draws of the losses.
        skip_nonfinite: Revert the step on all devices if a loss, a gradient or a weight is not
            finite, and report it as `SKIPPED`. Costs a copy of all variables per step.
        remat: Recompute the generator's activations in its backward pass.
    """

    global_batch: int
    micro_batches: int = 1
    share_generator_pass: bool = True
    fresh_critic_batches: bool = False
    seed: int = 0
    skip_nonfinite: bool = False
    remat: bool = False

    @classmethod
    def from_config(cls, config: TrainConfig, micro_batches: int) -> "StepPlan":
        """Returns the plan of a run."""
        training = config.training
        return cls(
            training.global_batch,
            micro_batches,
            training.share_generator_pass,
            training.fresh_critic_batches,
            config.seed,
            config.guards.on_nonfinite == "skip",
            training.remat,
        )

    def batches(self, objective: Objective) -> int:
        """Returns the number of batches per step."""
        return len(objective.updates) if self.fresh_critic_batches else 1

    def step_images(self, objective: Objective) -> int:
        """Returns the number of images per step."""
        return self.global_batch * self.batches(objective)

    @property
    def shares_pass(self) -> bool:
        """Whether one pass of the generator serves all updates."""
        # With a batch for each update there is nothing to share.
        return self.share_generator_pass and not self.fresh_critic_batches

    def metric_names(self, objective: Objective) -> tuple[str, ...]:
        """Returns the names of a step's scalars, each a mean over the global batch."""
        networks = dict.fromkeys(objective.updates)
        names = [name for network in networks for name in scalar_names(objective, network)]
        names += [TRAIN_PSNR, _DIFFERING]
        return (*names, SKIPPED) if self.skip_nonfinite else tuple(names)


def scalar_names(objective: Objective, network: str) -> list[str]:
    """Returns the names of the scalars of one network's update."""
    return [f"{network}/{s}" for s in ("loss", *objective.term_names(network), "gradient_norm")]


def loss_and_scalars(
    name: str, view: View, objective: Objective, value_range: ValueRange, global_batch: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns one network's share of the mean loss over a global batch, and scalars to report."""
    loss = objective.loss(name, view)
    total = ops.sum(loss.per_example) / global_batch
    terms = {f"{name}/{term}": value for term, value in loss.terms.items()}
    if name == GENERATOR:
        terms |= _training_scores(view, value_range)
    means = {term: ops.sum(value) / global_batch for term, value in terms.items()}
    return total, {f"{name}/loss": total, **means}


def _training_scores(view: View, value_range: ValueRange) -> dict[str, PerExample]:
    """Measures what the generator has restored for its own update, before that update.

    Args:
        view: The batch.
        value_range: The generator's.

    Returns:
        float32 [B] by the names of the scalars: `TRAIN_PSNR`, at most `CEILING_DB` and 0 for images
        whose input equals the target, and whether it differs. `training_psnr` divides the means.
    """
    sharp, restored = (
        ops.clip(to_unit(ops.cast(ops.stop_gradient(images), "float32"), value_range), 0.0, 1.0)
        for images in (view.sharp, view.restored)
    )
    differs = ops.cast(ops.any(view.blurred != view.sharp, axis=(1, 2, 3)), "float32")
    # NaN in an image is found in the loss.
    decibels = ops.nan_to_num(ops.minimum(psnr_db(sharp, restored), CEILING_DB))
    return {TRAIN_PSNR: differs * decibels, _DIFFERING: differs}


def training_psnr(means: Mapping[str, float]) -> dict[str, float]:
    """Returns means of scalars with the PSNR of the images that count, if there are any."""
    found = dict(means)
    share = found.pop(_DIFFERING, 0.0)
    total = found.pop(TRAIN_PSNR, 0.0)
    return {**found, TRAIN_PSNR: total / share} if share > 0 else found


def critic_updates(objective: Objective) -> list[tuple[str, range]]:
    """Returns the networks that are updated before the generator, with their positions in a step.

    Updates of one critic in a row are one entry: ``[("critic", range(0, 5))]``.
    """
    groups = []
    first = 0
    for name, group in itertools.groupby(objective.updates[:-1]):
        count = len(list(group))
        groups.append((name, range(first, first + count)))
        first += count
    return groups


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

    @classmethod
    def from_table(
        cls, names: Sequence[str], table: np.ndarray, skips_in_a_row: int, waited: float
    ) -> "StepResults":
        """Summarizes the scalars of each step.

        Args:
            names: Names of the scalars; `SKIPPED` is the last one if steps can be skipped.
            table: Their values, float32 [steps, names].
            skips_in_a_row: Steps that were skipped in a row right before.
            waited: Seconds in which the devices waited for data.
        """
        finite = np.isfinite(table)
        if names[-1] == SKIPPED:
            bad, names, table = table[:, -1] > 0.5, names[:-1], table[:, :-1]
        else:
            bad = ~finite.all(axis=1)
        in_a_row = [skips_in_a_row]
        for skipped in bad:
            in_a_row.append(in_a_row[-1] + 1 if skipped else 0)
        first = int(np.argmax(bad)) if bad.any() else None
        can_skip = finite.shape[1] > len(names)
        kept = table[~bad] if can_skip else table
        return cls(
            steps=len(table),
            sums=dict(zip(names, kept.sum(axis=0, dtype=np.float64).tolist(), strict=True)),
            skipped=int(bad.sum()) if can_skip else 0,
            skips_in_a_row=in_a_row[-1] if can_skip else 0,
            max_skips_in_a_row=max(in_a_row) if can_skip else 0,
            first_nonfinite=first,
            nonfinite=()
            if first is None
            else tuple(name for name, ok in zip(names, finite[first], strict=False) if not ok),
            waited=waited,
        )


def out_of_memory(reason: str) -> UserError:
    """Returns the error of a step that took more memory than a device has."""
    return UserError(
        f"Out of memory in a training step ({reason}). Set training.replica_batch to half of the "
        "images that a device processed at once: gradients are then accumulated and the training "
        "stays the same. The same command resumes from the newest checkpoint."
    )


def worker_lost(reason: str) -> WorkerLost:
    """Returns the error of a step that another process did not answer."""
    return WorkerLost(
        f"Another worker of this job has ended or is unreachable, so this one ends as well "
        f"({reason}). Its own output shows why. Start all workers again: they resume from the "
        "newest checkpoint."
    )


class Engine(abc.ABC):
    """The devices and processes of a job, and the training steps on them.

    Attributes:
        devices: Devices that share a global batch, over all processes; set by `start`, as the
            next two.
        worker_names: Names of the processes in messages, the chief first.
        worker_index: Index of this process.
        versions: Versions of the framework, which must be equal on all workers.
        failures: Exceptions of a step that `explain_failure` may explain.
    """

    devices: int
    worker_names: tuple[str, ...] = ("this process",)
    worker_index: int = 0
    versions: Mapping[str, str]
    failures: tuple[type[Exception], ...] = ()

    # ------------------------------------------------------------------------- devices, processes

    @abc.abstractmethod
    def meeting_place(self, config: RuntimeConfig) -> tuple[list[str], int]:
        """Returns the addresses of the workers that `start` connects, and this one's index.

        There are no addresses if the job has one process. Must not initialize devices.

        Raises:
            ConfigError: The description of the workers is invalid.
        """

    def listens(self, index: int) -> bool:
        """Returns whether `start` opens the port of a worker."""
        return True

    @abc.abstractmethod
    def start(self, seed: int, config: RuntimeConfig, global_batch: int | None = None) -> None:
        """Seeds all random generators and connects the devices.

        Args:
            seed: The run's seed.
            config: The section `runtime`.
            global_batch: Images in one update. Devices that cannot share them equally are not
                used; all devices are if unset.

        Raises:
            UserError: The devices that the configuration names do not exist.
            ConfigError: The configuration is inconsistent.
        """

    @abc.abstractmethod
    def resolve_precision(self, requested: Precision) -> str:
        """Returns the Keras policy for `runtime.precision`, a value of `ops.precision.POLICIES`."""

    def identity(self, state: TrainingState) -> dict[str, Any]:
        """Returns JSON values for checkpoints: name, devices, and how batch norm is computed.

        Args:
            state: The networks of the run.
        """
        return {
            "name": keras.backend.backend(),
            "devices": self.devices,
            "batch norm per replica": with_batch_norm_per_replica(state.networks),
        }

    @abc.abstractmethod
    def summary(self) -> str:
        """Returns one line about devices and versions."""

    @property
    def several_workers(self) -> bool:
        """Whether other processes run the same steps."""
        return len(self.worker_names) > 1

    @property
    def batch_parts(self) -> int:
        """Parts of a global batch that different processes read."""
        return len(self.worker_names)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.worker_index == 0

    @abc.abstractmethod
    def gather(self, text: str) -> list[str]:
        """Returns the texts of all workers, in the order of their names; all must call it."""

    @abc.abstractmethod
    def any_worker(self, flags: Sequence[bool]) -> list[bool]:
        """Returns which flags are set on at least one worker; all workers must call it.

        Args:
            flags: At least one.
        """

    @abc.abstractmethod
    def executor(self) -> Executor:
        """Returns an executor on this process's devices, for validation."""

    def explain_failure(self, error: Exception) -> UserError | None:
        """Returns an error to raise from one that a step raised, or None if it is not known."""
        return None

    # --------------------------------------------------------------------------- training steps

    def scope(self) -> AbstractContextManager[Any]:
        """Surrounds the creation of variables."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def compile(self, state: TrainingState, objective: Objective, plan: StepPlan) -> None:
        """Prepares the training step; called after `start`, at each entry into a stage.

        Raises:
            ConfigError: The engine cannot run such a step.
        """

    @abc.abstractmethod
    def batches(self, data: "TrainingData", start_image: int, plan: StepPlan) -> Iterator[Any]:
        """Returns the job's batches from a position on, in the form that `run_steps` takes.

        Args:
            data: The training data.
            start_image: Images since training began.
            plan: The training step, which determines the batch.
        """

    @abc.abstractmethod
    def run_steps(self, batches: Iterator[Any], steps: int, skips_in_a_row: int) -> StepResults:
        """Runs steps, which update the state and its image count, and waits for the results.

        Args:
            batches: From `batches`.
            steps: Number of steps.
            skips_in_a_row: Steps that were skipped in a row right before.
        """
