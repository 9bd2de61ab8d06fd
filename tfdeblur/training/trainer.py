"""Puts a training run together: the one place that knows all its parts.

Packages of one floor do not import each other; what one needs of another is handed over here.
"""

import contextlib
import dataclasses
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import tensorflow as tf
from tqdm import tqdm

from tfdeblur import models, objectives
from tfdeblur.checkpoints.manifest import read_meta
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.warm_start import init_from
from tfdeblur.config import TrainConfig
from tfdeblur.config.fields import images_of, seconds_of
from tfdeblur.data.dataset import READ_ERRORS, explain_read_error
from tfdeblur.data.inputs import (
    advise_on_reading,
    check_crop,
    open_training_data,
    open_validation_data,
    split_batch,
)
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import Stopped, UserError
from tfdeblur.io import files
from tfdeblur.models import critics
from tfdeblur.models.critics.critic import Critic
from tfdeblur.objectives.objective import CRITIC
from tfdeblur.ops import devices
from tfdeblur.training.callbacks import (
    LogHook,
    PictureHook,
    Progress,
    SaveHook,
    ValidateHook,
    check_weights,
)
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.errors import explain_failure
from tfdeblur.training.engines.tensorflow.step import ReplicaStep
from tfdeblur.training.gallery import INDEX, Gallery
from tfdeblur.training.history import History
from tfdeblur.training.loop import Diverged, Hook, Loop, Report
from tfdeblur.training.monitor import Watch
from tfdeblur.training.resilience.incidents import Incidents
from tfdeblur.training.resilience.lock import WorkdirLock
from tfdeblur.training.resilience.preemption import StopRequest, ValidationEnded
from tfdeblur.training.resilience.rendezvous import meeting
from tfdeblur.training.resilience.watchdog import StallWatch
from tfdeblur.training.resilience.worker_consistency import (
    Workers,
    agree_on_place,
    agree_on_start,
    told_by_checkpoint,
    weights_digest,
)
from tfdeblur.training.state import TrainingState, network_summary
from tfdeblur.training.validation import SampleRestorer, TrainingSamples, Validator, gallery_of
from tfdeblur.training.workdir import check_workdir, shared_settings, write_config

VALIDATE = "validate"


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        workdir: Its folder.
        images: Images seen.
        best: Validation scores of the best weights; empty without a validation split.
        page: Its page of curves and pictures; None for a run that ended before and has lost it.
    """

    workdir: str
    images: int
    best: Mapping[str, float]
    page: str | None

    def __str__(self) -> str:
        """Returns where to look next."""
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.best.items())
        return (
            f"{self.images:,} images seen. Best validation: {scores or 'none was made'}.\n"
            f"Look at {f'{self.page}, or at ' if self.page else ''}the curves with: "
            f"tensorboard --logdir {self.workdir}"
        )


def train(run_config: TrainConfig, stop: StopRequest | None = None) -> RunResult:
    """Runs a training from its configuration; see `tfdeblur.train.run`."""
    kind, tpu = run_config.runtime.strategy, run_config.runtime.tpu
    workers, place = runtime.meeting_place(kind, tpu)
    with meeting(workers, place, 60.0 * run_config.runtime.worker_minutes) as all_came:
        # Before devices are looked for: what makes a run repeatable comes too late after that.
        runtime.seed_everything(run_config.seed, run_config.runtime.deterministic)
        strategy = runtime.make_strategy(kind, tpu)
        try:
            return _train(run_config, strategy, stop or StopRequest(), all_came)
        except READ_ERRORS as error:
            raise _explained(error, run_config, runtime.spans_workers(strategy)) or error from error


def _train(
    run_config: TrainConfig,
    strategy: tf.distribute.Strategy,
    stop: StopRequest,
    all_came: Callable[[], None],
) -> RunResult:
    policy = runtime.resolve_precision(run_config.runtime.precision, strategy)
    data = open_training_data(run_config)
    identity = data.identity(run_config.output.validation_split)
    agree_on_start(Workers(strategy), shared_settings(run_config, policy), identity)
    all_came()
    # Every worker of a cluster takes part in whatever a run does, but only the chief's files are
    # kept: what the others write goes where nobody looks.
    chief = runtime.is_chief(strategy)
    with contextlib.ExitStack() as stack:
        lock: WorkdirLock | None = None
        if chief:
            lock = stack.enter_context(WorkdirLock(run_config.workdir))
            if changes := check_workdir(run_config):
                tqdm.write(f"Changed since the last start: {'; '.join(changes)}.")
        # A notebook goes on in the precision that it had.
        stack.enter_context(runtime.precision_scope(policy))
        aside = stack.enter_context(tempfile.TemporaryDirectory())
        output = run_config.workdir if chief else aside
        run = Run(run_config, strategy, data, output, identity, lock)
        if chief:
            # Not before: a start that fails must not claim the directory.
            write_config(run_config)
        summary = devices.device_summary(strategy)
        tqdm.write(f"{network_summary(run.state.players)}; {policy}; {summary}")
        return run.train(stop)


class Run:
    """A run in memory: its parts, built in the order in which they need each other."""

    def __init__(
        self,
        run_config: TrainConfig,
        strategy: tf.distribute.Strategy,
        data: TrainingData,
        output: str,
        identity: Mapping[str, Any] | None = None,
        lock: WorkdirLock | None = None,
    ) -> None:
        self.config = run_config
        self.lock = lock
        self.several_workers = runtime.spans_workers(strategy)
        self.strategy = strategy
        self.output = output
        self.data = data
        self.identity = identity
        self.workers = Workers(strategy)
        self.stalls = StallWatch(run_config.guards.stall_seconds, self.several_workers)
        self.global_batch = run_config.training.global_batch
        self.share, self.micro_batches = split_batch(
            self.global_batch, strategy.num_replicas_in_sync, run_config.training.replica_batch
        )
        training = run_config.training
        objective = objectives.create(run_config.objective.name, run_config.objective.options)
        # With a batch for each move a step takes several, and all of them have been seen.
        moves = len(objective.moves) if training.fresh_critic_batches else 1
        self.step_images = self.global_batch * moves
        self.total_images = self.images(training.duration)
        with strategy.scope():
            generator = models.create(run_config.model.name, run_config.model.options)
            check_crop(data, generator)
            objective.prepare()
            self.state = TrainingState(
                run_config,
                generator,
                _opponents(run_config),
                total_images=self.total_images,
                epoch_images=data.records,
                step_images=self.step_images,
            )
        notes = {} if identity is None else {"data": identity}
        self.store = CheckpointStore(output, run_config.output.keep, lock, notes)
        self.resumed = self._start()
        self.history = History(output, self.state.images_seen)
        self.incidents = Incidents(run_config.workdir, output, self.state.images_seen)
        self.state.rate_scale.assign(self.incidents.rate_scale)
        self._agree_on_place()
        self.loop = Loop(
            strategy,
            ReplicaStep(
                generator,
                objective,
                self.state,
                global_batch=self.global_batch,
                micro_batches=self.micro_batches,
                share_generator_pass=training.share_generator_pass,
                fresh_critic_batches=training.fresh_critic_batches,
                seed=run_config.seed,
                skip_nonfinite=run_config.guards.on_nonfinite == "skip",
            ),
            self.state,
            step_images=self.step_images,
            epoch_images=data.records,
            steps_per_loop=run_config.runtime.steps_per_loop,
            jit_compile=run_config.runtime.xla == "on",
            most_skips=run_config.guards.most_skips,
            several_workers=self.several_workers,
            watch=self.stalls.call,
        )

    def images(self, duration: str) -> int:
        """Converts a duration to images of this run."""
        return images_of(duration, epoch_images=self.data.records, global_batch=self.step_images)

    def _restore(self) -> str | None:
        """Reads the newest whole checkpoint, which every worker finds where the chief wrote it."""
        if self.output == self.config.workdir:
            return self.store.restore_latest(self.state)
        store = CheckpointStore(self.config.workdir, self.config.output.keep)
        return store.restore_latest(self.state, aside=False)

    def _start(self) -> bool:
        """Goes on from the newest checkpoint, or takes over initial weights; tells which."""
        folder = self._restore()
        if folder is not None:
            if self.identity is not None:
                averages = bool(self.state.average)
                for told in told_by_checkpoint(read_meta(folder), self.identity, averages):
                    tqdm.write(f"warning: {told}")
            tqdm.write(f"Going on from {folder} ({self.state.images_seen:,} images seen).")
        elif self.config.training.init_from is not None:
            match = init_from(self.config.training.init_from, self.state.generator)
            self.state.restart_average()
            tqdm.write(f"Weights from {self.config.training.init_from}: {match}.")
        return folder is not None

    def _agree_on_place(self) -> None:
        """Ends the run on all workers where one has restored something else than the others."""
        if len(self.workers.names) > 1:
            networks = [player.network for player in self.state.players.values()]
            agree_on_place(
                self.workers,
                self.state.images_seen,
                rate_scale=self.incidents.rate_scale,
                weights=weights_digest(networks),
            )

    def train(self, stop: StopRequest | None = None) -> RunResult:
        """Trains to the end; an interrupted run saves what it has."""
        stop = stop or StopRequest()
        if self.config.guards.on_nonfinite == "rollback" and not self.resumed:
            # There must be something to go back to from the beginning.
            self.store.save(self.state, {})
        if self.state.images_seen >= self.total_images:
            tqdm.write(
                f"The run has seen {self.state.images_seen:,} images already, and "
                f"training.duration is {self.total_images:,}: nothing is left to train. A longer "
                "duration goes on from here."
            )
        hooks = self._hooks(stop)
        progress = Progress(self.state.images_seen, self.total_images, self.incidents)
        with progress, self.stalls, stop.training():

            def wants_to_stop() -> bool:
                if self.lock is not None:
                    self.lock.check()
                return stop.requested()

            ended = False
            while True:
                try:
                    self._catch_up(hooks)
                    self.loop.run(
                        iter(self.batches()),
                        self.total_images,
                        hooks,
                        progress,
                        wants_to_stop,
                        self.incidents.add_skip,
                    )
                    break
                except Diverged as error:
                    self._go_back(error, progress)
                except ValidationEnded:
                    ended = True
                    break
            if ended or self.state.images_seen < self.total_images:
                # Another worker may have been the one that was told.
                self._save_and_leave(stop.signal_number or signal.SIGTERM)
        page = files.join(self.config.workdir, INDEX)
        return RunResult(
            self.config.workdir,
            self.state.images_seen,
            self.store.best_metrics(),
            page if files.exists(page) else None,
        )

    def _catch_up(self, hooks: Sequence[Hook]) -> None:
        """Makes the validation that was due where the run stands and was ended by a signal."""
        images, before = self.state.images_seen, self.state.images_seen - self.step_images
        last = before < self.total_images <= images
        chief = self.output == self.config.workdir
        for hook in hooks:
            if hook.name == VALIDATE and hook.every is not None and images:
                due = last or images // hook.every > before // hook.every
                done = images in dict(self.history.series(f"val/{self.config.output.best_metric}"))
                # Of the workers the chief alone knows what was done, and all have to take part.
                if self.loop.agreed([chief and due and not done])[0]:
                    hook.call(Report(images, self.data.records, {}, 0.0, last))

    def _save_and_leave(self, signal_number: int) -> NoReturn:
        check_weights(self.state)
        folder = self.store.save(self.state, {})
        message = f"Stopped; saved {folder}. The same command goes on from there."
        raise Stopped(message, signal_number)

    def _go_back(self, error: Diverged, progress: Progress) -> None:
        """Goes back to the last checkpoint with smaller learning rates, or ends the run."""
        guards = self.config.guards
        if guards.on_nonfinite != "rollback":
            raise Diverged(f"{error} {self._last_good()}") from error
        if self.incidents.rollbacks >= guards.most_rollbacks:
            raise Diverged(
                f"{error} The run has gone back {self.incidents.rollbacks} times already "
                f"(guards.most_rollbacks). {self._last_good()}"
            ) from error
        left = self.state.images_seen
        folder = self._restore()
        images = self.state.images_seen
        self._agree_on_place()
        self.incidents.add_rollback(images, left, guards.rollback_factor, str(error))
        self.state.rate_scale.assign(self.incidents.rate_scale)
        self.history.go_back(images)
        progress.go_back(images)
        tqdm.write(
            f"warning: {error} Went back to {folder}; learning rates are multiplied by "
            f"{self.incidents.rate_scale:g} from here."
        )

    def _last_good(self) -> str:
        counts = self.store.images()
        if not counts:
            return "No checkpoint had been written yet."
        return f"The last good checkpoint is {self.store.path(counts[-1])}."

    def batches(self) -> Any:
        """Distributes the data: each replica takes the next element of its host's stream."""

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            if context.input_pipeline_id == 0:
                advise_on_reading(self.data, context.num_input_pipelines)
            return self.data.dataset(
                self.share,
                start_image=self.state.images_seen,
                global_batch=self.global_batch,
                host=context.input_pipeline_id,
                hosts=context.num_input_pipelines,
            )

        return self.strategy.distribute_datasets_from_function(of_host)

    def _hooks(self, stop: StopRequest) -> list[Hook]:
        output = self.config.output
        hooks = [
            Hook(
                self.images(output.log_every),
                LogHook(self.history, self.state, self.incidents),
                "log",
            ),
            Hook(self.images(output.log_every), Watch(self.config.guards), "watch"),
        ]
        gallery = gallery_of(self.config, self.output)
        validator = self._validator(gallery, lambda: self.loop.agreed([stop.requested()])[0])
        look = validator or self._picture_hook(gallery)
        name = VALIDATE if validator else "pictures"
        hooks.append(Hook(self.images(output.validate_every), look, name))
        save = SaveHook(self.store, self.state, validator)
        seconds = seconds_of(output.save_every)
        every = self.images(output.save_every) if seconds is None else None
        return [*hooks, Hook(every, save, "save", seconds)]

    def _validator(self, gallery: Gallery, stop: Callable[[], bool]) -> ValidateHook | None:
        output = self.config.output
        data = open_validation_data(self.config, self.data)
        if data is None:
            return None
        validate = Validator(self.state.generator, data, self.strategy, output.pictures, stop)
        best = output.best_metric
        return ValidateHook(validate, self.state, self.store, self.history, gallery, best)

    def _picture_hook(self, gallery: Gallery) -> PictureHook:
        samples = TrainingSamples(self.data, self.config.output.pictures)
        take = SampleRestorer(self.state.generator, samples, self.strategy)
        return PictureHook(take, self.state, self.history, gallery)


def _explained(
    error: Exception, run_config: TrainConfig, several_workers: bool
) -> UserError | None:
    known = explain_failure(error, several_workers)
    # A wrong shape inside a network raises one of the data's errors too: then it is no news.
    splits = (run_config.data.split, run_config.output.validation_split)
    return known or explain_read_error(error, run_config.data.paths, splits)


def _opponents(run_config: TrainConfig) -> dict[str, Critic]:
    """Builds the critic, where the objective has one."""
    chosen = run_config.critic
    return {} if chosen is None else {CRITIC: critics.create(chosen.name, chosen.options)}
