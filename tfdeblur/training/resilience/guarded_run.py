"""Everything that protects a run, around a trainer that is unaware of it.

In the order in which `guarded_run` sets it up: the workers of a job wait for each other, compare
settings and data before networks are built, and the chief locks the work directory before it is
touched; after the trainer has been built, the workers compare what they restored. Then a signal
stops the run between two steps, a stalled step is reported, and a run that diverged goes back to
a checkpoint.
"""

import contextlib
import math
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NoReturn

from tqdm import tqdm

from tfdeblur.config.stages import shared_batch
from tfdeblur.data.dataset import explain_read_error, read_error_types
from tfdeblur.errors import Stopped
from tfdeblur.ops.precision import precision_scope
from tfdeblur.training.callbacks import check_weights
from tfdeblur.training.engines import cluster
from tfdeblur.training.loop import Diverged, Report
from tfdeblur.training.resilience.incidents import Incidents
from tfdeblur.training.resilience.lock import WorkdirLock
from tfdeblur.training.resilience.preemption import StopRequest, ValidationInterrupted
from tfdeblur.training.resilience.rendezvous import rendezvous
from tfdeblur.training.resilience.watchdog import StallWatchdog
from tfdeblur.training.resilience.worker_consistency import (
    agree_on_place,
    agree_on_start,
    weights_digest,
)
from tfdeblur.training.supervisor import Supervisor
from tfdeblur.training.trainer import Trainer, TrainResult
from tfdeblur.training.workdir import shared_settings


@contextlib.contextmanager
def guarded_run(trainer: Trainer, stop: StopRequest | None = None) -> Iterator["GuardedRun"]:
    """Builds a trainer's run and guards it for as long as the block lasts.

    Args:
        trainer: A new trainer.
        stop: Receives the signals of a process that exists for this run alone. If unset, SIGINT
            and SIGTERM are held during training only.

    Yields:
        The run, to be trained by its `fit`.

    Raises:
        UserError: The configuration, the data or the work directory need a fix.
        WorkerLost: Another worker of the job is missing or gone.
        NotNeeded: The other workers share the global batch without this one.
    """
    config, engine = trainer.config, trainer.engine
    addresses, index = engine.meeting_place(config.runtime)
    if addresses and not config.training.scale_batch:
        cluster.leave_out_surplus(shared_batch(config))
        addresses, index = engine.meeting_place(config.runtime)
    minutes, hold_port = config.runtime.worker_minutes, not engine.listens(index)
    with (
        rendezvous(addresses, index, 60.0 * minutes, hold_port=hold_port) as all_ready,
        explained_errors(trainer),
        contextlib.ExitStack() as stack,
    ):
        trainer.prepare()
        agree_on_start(engine, shared_settings(config, trainer.policy), trainer.identity)
        all_ready()
        lock = None
        if engine.is_chief:
            lock = stack.enter_context(WorkdirLock(config.workdir))
        else:
            # All workers take part in everything, but only the chief's files are kept.
            trainer.output = stack.enter_context(tempfile.TemporaryDirectory())
        run = GuardedRun(trainer, lock, stop or StopRequest())
        trainer.supervisor = run
        # A notebook keeps the precision policy that it had.
        stack.enter_context(precision_scope(trainer.policy))
        trainer.build()
        run.restore_incidents()
        run.compare_workers()
        trainer.claim_workdir()
        yield run


@contextlib.contextmanager
def explained_errors(trainer: Trainer) -> Iterator[None]:
    """Raises a UserError for errors about workers, memory and data."""
    try:
        yield
    except (*read_error_types(), *trainer.engine.failures) as error:
        config = trainer.config
        splits = (config.data.split, config.output.validation_split)
        # A wrong shape in a network raises one of these errors too: then the data are intact.
        explained = trainer.engine.explain_failure(error) or explain_read_error(
            error, config.data.paths, splits
        )
        if explained is None:
            raise
        raise explained from error


class GuardedRun(Supervisor):
    """A run under guard; see `guarded_run`.

    Args:
        trainer: The trainer.
        lock: The hold on the work directory; None for workers other than the chief.
        stop: Receives signals.
    """

    def __init__(self, trainer: Trainer, lock: WorkdirLock | None, stop: StopRequest) -> None:
        self.lock: WorkdirLock | None = lock
        self._trainer = trainer
        self._stop = stop
        self._guards = trainer.config.guards
        self._deadline = math.inf
        self._watchdog = StallWatchdog(self._guards.stall_seconds, trainer.engine.several_workers)

    def fit(self) -> TrainResult:
        """Trains to the end.

        Raises:
            Stopped: A signal or `runtime.max_minutes` ended the run, whose state was saved.
            Diverged: Losses or weights are not finite, and no rollback is left.
        """
        trainer = self._trainer
        if self._guards.on_nonfinite == "rollback" and not trainer.resumed:
            # So that there is a checkpoint to go back to.
            trainer.store.save(trainer.state, {})
        with self._stop.training():
            try:
                self._finish_validation()
                trainer.train()
            except ValidationInterrupted:
                self._save_and_stop()
            if not trainer.finished:
                self._save_and_stop()
        return trainer.result()

    # ------------------------------------------------------------------- what the trainer calls

    def watch(self, steps: int) -> AbstractContextManager[None]:
        """Warns if a call of steps does not end."""
        return self._watchdog.call(steps)

    def stop_requested(self) -> bool:
        """Returns whether a signal has come or the time is up.

        Raises:
            UserError: Another run has taken over the work directory.
        """
        if self.lock is not None:
            self.lock.check()
        minutes = self._trainer.config.runtime.max_minutes
        if minutes is not None and self._deadline == math.inf:
            # From the first step on, so that even a short session gets further.
            self._deadline = time.monotonic() + 60.0 * minutes
            return self._stop.requested()
        return self._should_stop()

    def _should_stop(self) -> bool:
        return self._stop.requested() or time.monotonic() >= self._deadline

    def before_validation_batch(self) -> None:
        """Ends a validation, on all workers, once one of them should stop."""
        if self._trainer.loop.agreed([self._should_stop()])[0]:
            raise ValidationInterrupted("A signal or a time limit ended the validation.")

    def on_skipped_steps(self, images: int, steps: int, names: str) -> None:
        """Records skipped steps."""
        self._incidents.add_skip(images, steps, names)

    def incident_counts(self) -> Mapping[str, float]:
        """Returns the counts of skipped steps and rollbacks."""
        return self._incidents.counts()

    def on_divergence(self, error: Diverged) -> None:
        """Goes back to the last checkpoint with smaller learning rates, or raises the error."""
        guards, trainer = self._guards, self._trainer
        if guards.on_nonfinite != "rollback":
            raise Diverged(f"{error} {self._last_good()}") from error
        if self._incidents.rollbacks >= guards.max_rollbacks:
            raise Diverged(
                f"{error} The run was rolled back {self._incidents.rollbacks} "
                f"time{'s'[: self._incidents.rollbacks != 1]} before, the "
                f"limit of guards.max_rollbacks. {self._last_good()}"
            ) from error
        left = trainer.state.images_seen
        folder = trainer.restore()
        images = trainer.state.images_seen
        self.compare_workers()
        self._incidents.add_rollback(images, left, guards.rollback_factor, str(error))
        scale = self._incidents.rate_scale
        trainer.state.rate_scale.assign(scale)
        trainer.history.go_back(images)
        tqdm.write(
            f"warning: {error} Rolled back to {folder}; learning rates are multiplied by "
            f"{scale:g} from here."
        )

    def _last_good(self) -> str:
        store = self._trainer.store
        counts = store.images()
        if not counts:
            return "No checkpoint had been written yet."
        return f"The last good checkpoint is {store.path(counts[-1])}."

    # ------------------------------------------------------------------------- start and stop

    def restore_incidents(self) -> None:
        """Reads the incidents up to the restored checkpoint, and applies their rate factors."""
        trainer = self._trainer
        workdir = trainer.config.workdir
        self._incidents = Incidents(workdir, trainer.output, trainer.state.images_seen)
        trainer.state.rate_scale.assign(self._incidents.rate_scale)

    def compare_workers(self) -> None:
        """Checks that all workers have restored the same.

        Raises:
            ConfigError: They have not.
        """
        if self._trainer.engine.several_workers:
            state = self._trainer.state
            agree_on_place(
                self._trainer.engine,
                state.images_seen,
                rate_scale=self._incidents.rate_scale,
                weights=weights_digest([trained.network for trained in state.networks.values()]),
            )

    def _finish_validation(self) -> None:
        """Runs the validation that was due at the restored image count if a signal ended it."""
        trainer, validation = self._trainer, self._trainer.validation
        if validation is None:
            return
        images, every = trainer.state.images_seen, trainer.images(validation.every)
        before = images - trainer.step_images
        last = before < trainer.total_images <= images
        due = images > 0 and (last or images // every > before // every)
        # Only the chief has a history; all workers must take part.
        if due and not trainer.loop.agreed([validation.has_run(images)])[0]:
            validation(Report(images, trainer.data.records, {}, 0.0, last))

    def _save_and_stop(self) -> NoReturn:
        trainer = self._trainer
        check_weights(trainer.state)
        folder = trainer.store.save(trainer.state, {})
        raise Stopped(
            f"Stopped; saved {folder}. The same command resumes from there.",
            self._stop.signal_number or signal.SIGTERM,
        )
