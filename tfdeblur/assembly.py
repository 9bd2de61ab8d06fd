"""Puts a training run together: the one place that knows all its parts.

Packages of one floor do not import each other; what one needs of another is handed over here.
"""

import contextlib
import dataclasses
import math
import signal
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import tensorflow as tf
from tqdm import tqdm

from tfdeblur import files, models, objectives, runtime
from tfdeblur.config import TrainConfig
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.opening import READ_ERRORS, explain_read_error
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.errors import ConfigError, Stopped, UserError
from tfdeblur.models import critics
from tfdeblur.models._generator import Generator
from tfdeblur.models.critics._critic import Critic
from tfdeblur.objectives._objective import CRITIC
from tfdeblur.quantities import images_of, seconds_of
from tfdeblur.training.checkpoint import CheckpointStore
from tfdeblur.training.failures import explain_failure
from tfdeblur.training.history import History
from tfdeblur.training.hooks import (
    INDEX,
    Gallery,
    LogHook,
    Progress,
    SaveHook,
    ValidateHook,
    check_weights,
)
from tfdeblur.training.incidents import Incidents
from tfdeblur.training.initial import init_from
from tfdeblur.training.lock import WorkdirLock
from tfdeblur.training.loop import Diverged, Hook, Loop
from tfdeblur.training.signals import StopRequest
from tfdeblur.training.state import TrainingState, network_summary
from tfdeblur.training.step import ReplicaStep
from tfdeblur.training.watch import Watch
from tfdeblur.validation import Validator
from tfdeblur.workdir import prepare_workdir


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        workdir: Its folder.
        images: Images seen.
        best: Validation scores of the best weights; empty without a validation split.
    """

    workdir: str
    images: int
    best: Mapping[str, float]

    def __str__(self) -> str:
        """Returns where to look next."""
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.best.items())
        return (
            f"{self.images:,} images seen. Best validation: {scores or 'none was made'}.\n"
            f"Look at {files.join(self.workdir, INDEX)}, or at the curves with: "
            f"tensorboard --logdir {self.workdir}"
        )


def train(run_config: TrainConfig) -> RunResult:
    """Runs a training from its configuration; see `tfdeblur.train.run`."""
    strategy = runtime.make_strategy(run_config.runtime.strategy, run_config.runtime.tpu)
    policy = runtime.resolve_precision(run_config.runtime.precision, strategy)
    runtime.seed_everything(run_config.seed, run_config.runtime.deterministic)
    data = open_training_data(run_config)
    # Every worker of a cluster takes part in whatever a run does, but only the chief's files are
    # kept: what the others write goes where nobody looks.
    chief = runtime.is_chief(strategy)
    with contextlib.ExitStack() as stack:
        is_mine: Callable[[], None] = lambda: None  # noqa: E731  # the chief's is a method
        if chief:
            is_mine = stack.enter_context(WorkdirLock(run_config.workdir)).check
            prepare_workdir(run_config)
        # A notebook goes on in the precision that it had.
        stack.enter_context(runtime.precision_scope(policy))
        aside = stack.enter_context(tempfile.TemporaryDirectory())
        output = run_config.workdir if chief else aside
        run = Run(run_config, strategy, data, output, is_mine=is_mine)
        devices = runtime.device_summary(strategy)
        tqdm.write(f"{network_summary(run.state.players)}; {policy}; {devices}")
        return run.train()


def open_training_data(run_config: TrainConfig) -> TrainingData:
    """Opens the data sets that a configuration names.

    Raises:
        ConfigError: It names none, or the crop does not fit.
        DataError: One is missing, damaged, or too small for the crop.
    """
    options = run_config.data
    if not options.paths:
        raise ConfigError("data.paths: name a folder made by data_prep.build with --data FOLDER.")
    return TrainingData(
        options.paths,
        weights=options.weights,
        split=options.split,
        crop=options.crop,
        horizontal_flips=options.horizontal_flips,
        vertical_flips=options.vertical_flips,
        quarter_turns=options.quarter_turns,
        seed=run_config.seed,
        shuffle_block=options.shuffle_block,
        cache=options.cache,
        train_on_test=options.train_on_test,
        synthesis=run_config.synthesis,
    )


def split_batch(global_batch: int, replicas: int, largest: int | None) -> tuple[int, int]:
    """Divides a global batch over replicas and micro-batches.

    Args:
        global_batch: Images in one update.
        replicas: Devices that share it.
        largest: Most images that one device takes at once, or None.

    Returns:
        Images of one replica in one update, and the number of micro-batches they are cut into.

    Raises:
        ConfigError: The replicas cannot share the batch equally.
    """
    if global_batch % replicas:
        near = math.ceil(global_batch / replicas) * replicas
        raise ConfigError(
            f"training.global_batch: {global_batch} images cannot be shared equally by {replicas} "
            f"devices. Use {near}, for example."
        )
    share = global_batch // replicas
    micro = math.ceil(share / min(largest or share, share))
    while share % micro:
        micro += 1
    return share, micro


class Run:
    """A run in memory: its parts, built in the order in which they need each other."""

    def __init__(
        self,
        run_config: TrainConfig,
        strategy: tf.distribute.Strategy,
        data: TrainingData,
        output: str,
        is_mine: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = run_config
        self.is_mine = is_mine
        self.several_workers = runtime.spans_workers(strategy)
        self.strategy = strategy
        self.output = output
        self.data = data
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
            _check_crop(data, generator)
            objective.prepare()
            self.state = TrainingState(
                run_config,
                generator,
                _opponents(run_config),
                total_images=self.total_images,
                epoch_images=data.records,
                step_images=self.step_images,
            )
        self.store = CheckpointStore(output, run_config.output.keep)
        self.resumed = self._start()
        self.history = History(output, self.state.images_seen)
        self.incidents = Incidents(run_config.workdir, output, self.state.images_seen)
        self.state.rate_scale.assign(self.incidents.rate_scale)
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
        )

    def images(self, duration: str) -> int:
        """Converts a duration to images of this run."""
        return images_of(duration, epoch_images=self.data.records, global_batch=self.step_images)

    def _restore(self) -> str | None:
        """Reads the newest whole checkpoint, which every worker finds where the chief wrote it."""
        store = CheckpointStore(self.config.workdir, self.config.output.keep)
        return store.restore_latest(self.state)

    def _start(self) -> bool:
        """Goes on from the newest checkpoint, or takes over initial weights; tells which."""
        folder = self._restore()
        if folder is not None:
            tqdm.write(f"Going on from {folder} ({self.state.images_seen:,} images seen).")
        elif self.config.training.init_from is not None:
            match = init_from(self.config.training.init_from, self.state.generator)
            self.state.restart_average()
            tqdm.write(f"Weights from {self.config.training.init_from}: {match}.")
        return folder is not None

    def train(self) -> RunResult:
        """Trains to the end; an interrupted run saves what it has."""
        if self.config.guards.on_nonfinite == "rollback" and not self.resumed:
            # There must be something to go back to from the beginning.
            self.store.save(self.state, {})
        hooks = self._hooks()
        seen = self.state.images_seen
        with StopRequest() as stop, Progress(seen, self.total_images, self.incidents) as progress:

            def wants_to_stop() -> bool:
                self.is_mine()
                return stop.requested()

            while True:
                try:
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
                except (tf.errors.OpError, *READ_ERRORS) as error:
                    raise self._explained(error) or error from error
            if self.state.images_seen < self.total_images:
                # Another worker may have been the one that was told.
                self._save_and_leave(stop.signal_number or signal.SIGTERM)
        return RunResult(self.config.workdir, self.state.images_seen, self.store.best_metrics())

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
        self.incidents.add_rollback(images, left, guards.rollback_factor, str(error))
        self.state.rate_scale.assign(self.incidents.rate_scale)
        self.history.go_back(images)
        progress.go_back(images)
        tqdm.write(
            f"warning: {error} Went back to {folder}; learning rates are multiplied by "
            f"{self.incidents.rate_scale:g} from here."
        )

    def _explained(self, error: Exception) -> UserError | None:
        known = explain_failure(error, self.several_workers)
        # A wrong shape inside a network raises one of the data's errors too: then it is no news.
        data = self.config.data
        return known or explain_read_error(error, data.paths, data.split)

    def _last_good(self) -> str:
        counts = self.store.images()
        if not counts:
            return "No checkpoint had been written yet."
        return f"The last good checkpoint is {self.store.path(counts[-1])}."

    def batches(self) -> Any:
        """Distributes the data: each replica takes the next element of its host's stream."""

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self.data.dataset(
                self.share,
                start_image=self.state.images_seen,
                global_batch=self.global_batch,
                host=context.input_pipeline_id,
                hosts=context.num_input_pipelines,
            )

        return self.strategy.distribute_datasets_from_function(of_host)

    def _hooks(self) -> list[Hook]:
        output = self.config.output
        hooks = [
            Hook(
                self.images(output.log_every),
                LogHook(self.history, self.state, self.incidents),
                "log",
            ),
            Hook(self.images(output.log_every), Watch(self.config.guards), "watch"),
        ]
        validator = self._validator()
        if validator is not None:
            hooks.append(Hook(self.images(output.validate_every), validator, "validate"))
        save = SaveHook(self.store, self.state, validator)
        seconds = seconds_of(output.save_every)
        every = self.images(output.save_every) if seconds is None else None
        return [*hooks, Hook(every, save, "save", seconds)]

    def _validator(self) -> ValidateHook | None:
        output = self.config.output
        manifests = zip(self.config.data.paths, self.data.manifests, strict=True)
        having = {p: m for p, m in manifests if output.validation_split in m.splits}
        # Where blur is only made on the fly, both halves that are stored are the sharp one.
        path = next((p for p, m in having.items() if m.blur.get("kind") != "none"), None)
        if path is None:
            fault = "has blurred images in" if having else "has"
            tqdm.write(
                f"No data set {fault} a split {output.validation_split!r}: nothing is validated, "
                "and the newest weights are the ones to use."
            )
            return None
        data = EvaluationData(path, output.validation_split, limit=output.validation_images)
        validate = Validator(self.state.generator, data, self.strategy, output.pictures)
        title = self.config.recipe or f"{self.config.model.name} in training"
        gallery = Gallery(
            self.output,
            title,
            [
                ("Model", f"{self.config.model.name}"),
                ("Objective", f"{self.config.objective.name}"),
                ("Data", ", ".join(files.base_name(p) for p in self.config.data.paths)),
                ("Global batch", f"{self.global_batch}"),
            ],
        )
        return ValidateHook(
            validate, self.state, self.store, self.history, gallery, output.best_metric
        )


def _opponents(run_config: TrainConfig) -> dict[str, Critic]:
    """Builds the critic, where the objective has one."""
    chosen = run_config.critic
    return {} if chosen is None else {CRITIC: critics.create(chosen.name, chosen.options)}


def _check_crop(data: TrainingData, generator: Generator) -> None:
    if data.height % generator.multiple or data.width % generator.multiple:
        raise ConfigError(
            f"data.crop: {generator.name} needs sizes that are multiples of {generator.multiple}, "
            f"but samples are {data.width}x{data.height}. Choose a crop that is."
        )
