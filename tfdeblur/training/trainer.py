"""The trainer: builds a run from its configuration, restores it and trains it."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from tfdeblur import objectives
from tfdeblur.checkpoints.manifest import read_meta
from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.checkpoints.warm_start import images_seen_by, init_from
from tfdeblur.config import PlugIn, TrainConfig, plugins
from tfdeblur.config.fields import images_of, seconds_of
from tfdeblur.config.stages import Timeline, shared_batch, stage_configs
from tfdeblur.data.inputs import check_crop, split_batch, warn_of_other_source
from tfdeblur.data.pipeline import TrainingData, check_parts
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.io import files
from tfdeblur.models import critics
from tfdeblur.models.generator import CUSTOM, Model
from tfdeblur.objectives.objective import CRITIC, Objective
from tfdeblur.ops.precision import precision_scope
from tfdeblur.training import engines, user_inputs
from tfdeblur.training.callbacks import Callback, ProgressBar, ValidationCallback
from tfdeblur.training.data_changes import changes_since
from tfdeblur.training.default_callbacks import default_callbacks, make_validation
from tfdeblur.training.engines.engine import Engine, StepPlan
from tfdeblur.training.gallery import INDEX
from tfdeblur.training.history import History
from tfdeblur.training.loop import Diverged, Hook, Loop
from tfdeblur.training.scaling import scaled_to
from tfdeblur.training.state import TrainingState, network_summary
from tfdeblur.training.supervisor import Supervisor
from tfdeblur.training.workdir import check_workdir, write_config


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The outcome of a run.

    Attributes:
        workdir: The work directory.
        images: Images seen.
        best: Validation scores of the best weights; empty if the run did not validate.
        page: Path of the page with curves and images; None if it was removed.
    """

    workdir: str
    images: int
    best: Mapping[str, float]
    page: str | None

    def __str__(self) -> str:
        """Returns a summary, and the places where curves and images are."""
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.best.items())
        return (
            f"{self.images:,} images seen. Best validation: {scores or 'none'}.\n"
            f"See {f'{self.page}, or ' if self.page else ''}the curves with: "
            f"tensorboard --logdir {self.workdir}"
        )


class Trainer:
    """Trains a restoration network.

    `fit` trains without protection against a second run in the work directory, signals or
    diverging losses; `tfdeblur.train.run` takes the same arguments and adds it
    (`resilience.guarded_run`).

    Args:
        config: The run, from `tfdeblur.config.resolve`.
        callbacks: Objects that are called between training steps, before checkpoints are written.
        model: A network to train in place of `config.model`: a Keras model from float32
            [B, H, W, 3] in [0, 1] to the same (finest first, if it returns a list of sizes); a
            `models.generator.Generator`, for another value range or sizes that must be multiples;
            or a function that returns either, for a model that `keras.models.clone_model` cannot
            copy. A copy is trained, and its final weights are copied back at the end. Checkpoints
            call it ``custom``, and `tfdeblur.load(workdir, model=...)` loads them.
        train_data: Pairs to train on in place of `config.data.paths`. A tuple of arrays (blurred,
            sharp), uint8 [N, H, W, 3] each, is read, cropped, augmented and shuffled as a built
            data set is, and the position in it is a count of images, so resuming is exact. A
            finite `tf.data.Dataset` of pairs (blurred, sharp), uint8 [H, W, 3] each, is used as it
            comes and repeated: shuffle and augment it yourself, with fixed seeds. To resume, the
            pairs before the position are read and dropped.
        val_data: Pairs to validate on in place of `config.output.validation_split`, in the same
            forms; they are read once.
        engine: Runs the steps; `engines.create` makes it if unset.

    Attributes:
        engine: Runs the steps.
        objective: The losses; set by `build`, as the next four.
        state: Networks, optimizers and counters.
        plan: The plan of one step, in the current stage.
        loop: The training loop of the current stage.
        resumed: Whether a checkpoint was restored.
        data: The training data of the current stage; set by `prepare`, as the next one.
        scaled: The configuration, with a larger batch if `training.scale_batch` asks for one.
        timeline: The stages of the run; set by `build`.
        output: The folder to write to, `config.workdir` unless another process writes there.
        supervisor: Is asked whether to stop, and what to do if training diverges.

    Example:
        >>> run = Trainer(config, model=network, train_data=(x, y))  # doctest: +SKIP
        >>> result = run.fit()  # doctest: +SKIP
    """

    objective: Objective
    state: TrainingState
    plan: StepPlan
    loop: Loop
    resumed: bool

    def __init__(
        self,
        config: TrainConfig,
        *,
        callbacks: Sequence[Callback] = (),
        model: Model | None = None,
        train_data: "user_inputs.Data | TrainingData | None" = None,
        val_data: "user_inputs.Data | None" = None,
        engine: Engine | None = None,
    ) -> None:
        if model is not None:
            config = dataclasses.replace(config, model=PlugIn(name=CUSTOM))
        self.config = config
        self.callbacks = tuple(callbacks)
        self.engine = engine or engines.create(config.runtime.engine)
        self.output = config.workdir
        self.supervisor = Supervisor()
        self._model = model
        self._train_data = train_data
        self._val_data = val_data

    def fit(self) -> TrainResult:
        """Trains for `config.training.duration`, resuming from the newest checkpoint.

        Returns:
            The outcome; best weights and checkpoints are in the work directory.

        Raises:
            UserError: The configuration, the data or the work directory need a fix, or training
                diverged.
        """
        self.prepare()
        self.build()
        self.claim_workdir()
        self.train()
        return self.result()

    # ---------------------------------------------------------------------------------- building

    def prepare(self) -> None:
        """Seeds the run, connects devices, chooses the precision and opens the data."""
        config = self.config
        if config.training.init_continue and config.training.init_from is None:
            raise ConfigError("training.init_continue: requires training.init_from.")
        batch = None if config.training.scale_batch else shared_batch(config)
        self.engine.start(config.seed, config.runtime, batch)
        self.scaled = config if batch else scaled_to(config, self.engine.devices)
        self.policy = self.engine.resolve_precision(config.runtime.precision)
        self._stages = stage_configs(self.scaled)
        # All are checked now. The first stage comes last, and stays open.
        self._sizes = {stage: self._open(stage) for stage in reversed(range(len(self._stages)))}
        if self._train_data is None:
            warn_of_other_source(config, self.data)
        self.identity = self.data.identity(config.output.validation_split)

    def build(self) -> None:
        """Builds networks, optimizers and the loop, and restores the newest checkpoint."""
        config, training = self.scaled, self.scaled.training
        if self.owns_workdir and (changes := check_workdir(self.config)):
            tqdm.write(f"Changed since the last start: {'; '.join(changes)}.")
        self.objective = objective = objectives.create(
            config.objective.name, config.objective.options
        )
        self._plans = [self._plan(stage) for stage in range(len(self._stages))]
        step_images = [plan.step_images(objective) for plan in self._plans]
        self.timeline = Timeline.of(training.stages, step_images, self.data.records)
        self.total_images = self.timeline.images(training.duration)
        with precision_scope(self.policy), self.engine.scope():
            generator = user_inputs.make_generator(config, self._model)
            for stage, size in self._sizes.items():
                with _errors_of_stage(stage):
                    check_crop(*size, generator)
            # After the generator, whose initial weights depend on the seed alone.
            objective.prepare()
            critic = config.critic
            built = {CRITIC: critics.create(critic.name, critic.options)} if critic else {}
            self.state = TrainingState(
                self.timeline.in_images(config),
                generator,
                built,
                total_images=self.total_images,
                epoch_images=self.data.records,
                step_images=step_images[0],
            )
        self._enter(0)
        self.engine_identity = self.engine.identity(self.state)
        notes: dict[str, Any] = {"data": self.identity, "engine": self.engine_identity}
        if config.plugins:
            notes[plugins.KEY] = list(config.plugins)
        self.store = CheckpointStore(self.output, config.output.keep, self.supervisor.lock, notes)
        self.resumed = self.restore_or_initialize()
        self.history = History(self.output, self.state.images_seen)
        self.enter_stage()

    def _open(self, stage: int) -> tuple[int, int]:
        """Opens the data of a stage; returns the size of its samples, height and width."""
        config = self._stages[stage]
        with _errors_of_stage(stage):
            check_parts(config.data.parts, config.training.global_batch, self.engine.batch_parts)
            self.data = user_inputs.open_training(config, self._train_data)
            size, crop = (self.data.height, self.data.width), config.data.crop
            if stage and crop and size != crop:
                raise ConfigError(
                    f"crop: the training data are pairs of {size[1]}x{size[0]} that are used as "
                    "they come."
                )
        return size

    def _plan(self, stage: int) -> StepPlan:
        """Returns the plan of one step in a stage."""
        config = self._stages[stage]
        training = config.training
        with _errors_of_stage(stage):
            micro_batches = split_batch(
                training.global_batch, self.engine.devices, training.replica_batch
            )
        return StepPlan.from_config(config, micro_batches)

    def enter_stage(self) -> None:
        """Enters the stage of the state's count of images: its data, its batch, its loop."""
        stage = self.timeline.stage_at(self.state.images_seen)
        if stage != self._stage:
            self._open(stage)
            self._enter(stage)

    def _enter(self, stage: int) -> None:
        self._stage = stage
        self.plan = self._plans[stage]
        self.step_images = self.plan.step_images(self.objective)
        self.engine.compile(self.state, self.objective, self.plan)
        self.loop = Loop(
            self.engine,
            self.state,
            step_images=self.step_images,
            epoch_images=self.data.records,
            steps_per_loop=self.config.runtime.steps_per_loop,
            max_skips=self.config.guards.max_consecutive_skips,
            watch=self.supervisor.watch,
        )
        if stage:
            tqdm.write(
                f"Stage {stage + 1} of {len(self._stages)}, starting at "
                f"{self.timeline.begins[stage]:,} images: crops of "
                f"{self.data.width}x{self.data.height}, batches of {self.plan.global_batch}."
            )

    def restore_or_initialize(self) -> bool:
        """Restores the newest checkpoint, else the initial weights; returns whether it resumed."""
        source = self.config.training.init_from
        folder = self.restore()
        if folder is not None:
            changes = changes_since(
                read_meta(folder),
                self.identity,
                self.engine_identity,
                averages=bool(self.state.average),
            )
            for change in changes:
                tqdm.write(f"warning: {change}")
            tqdm.write(f"Resuming from {folder} ({self.state.images_seen:,} images seen).")
        elif source is not None:
            match = init_from(
                source, self.state.generator, partial=self.config.training.init_partial
            )
            self.state.restart_average()
            tqdm.write(f"Weights from {source}: {match}.")
            if self.config.training.init_continue:
                self.state.images.assign(seen := images_seen_by(source))
                tqdm.write(f"The schedule continues at {seen:,} images.")
        elif (backbone := self.state.generator.backbone) is not None:
            backbone.load()
            self.state.restart_average()
        return folder is not None

    def restore(self) -> str | None:
        """Restores the newest intact checkpoint of the work directory; returns its folder."""
        if self.owns_workdir:
            return self.store.restore_latest(self.state)
        store = CheckpointStore(self.config.workdir, self.config.output.keep)
        return store.restore_latest(self.state, aside=False)

    # ---------------------------------------------------------------------------------- training

    def claim_workdir(self) -> None:
        """Writes the configuration, which makes the work directory this run's, and a summary."""
        if self.owns_workdir:
            write_config(self.config)
        parts = (network_summary(self.state.networks), self.policy)
        tqdm.write("; ".join((*parts, self.engine.summary())))

    def train(self) -> None:
        """Runs the stages until `config.training.duration` or until the supervisor stops."""
        seen, total, supervisor = self.state.images_seen, self.total_images, self.supervisor
        if self.finished:
            tqdm.write(
                f"The run has seen {seen:,} images, and training.duration is {total:,}: nothing "
                "is left to train. Give a longer duration to continue."
            )
        with (
            precision_scope(self.policy),
            ProgressBar(seen, total, supervisor.incident_counts) as progress,
        ):
            callbacks = default_callbacks(self, self.callbacks)
            while True:
                self.enter_stage()
                end = int(min(self.timeline.end(self._stage), total))
                try:
                    self.loop.run(
                        self.engine.batches(self.data, self.state.images_seen, self.plan),
                        end,
                        [self.schedule(callback) for callback in callbacks],
                        progress,
                        supervisor.stop_requested,
                        supervisor.on_skipped_steps,
                        ends_run=end == total,
                    )
                except Diverged as error:
                    supervisor.on_divergence(error)
                    progress.go_back(self.state.images_seen)
                    continue
                if self.finished or self.state.images_seen < end:
                    return

    def result(self) -> TrainResult:
        """Returns the outcome so far; a user's network receives the current weights."""
        user_inputs.copy_weights(self.state.generator, self._model)
        page = files.join(self.config.workdir, INDEX)
        return TrainResult(
            self.config.workdir,
            self.state.images_seen,
            self.store.best_metrics(),
            page if files.exists(page) else None,
        )

    @property
    def finished(self) -> bool:
        """Whether the run has reached its duration."""
        return self.state.images_seen >= self.total_images

    @property
    def owns_workdir(self) -> bool:
        """Whether this process writes the work directory; of several workers, the chief does."""
        return self.output == self.config.workdir

    @functools.cached_property
    def validation(self) -> ValidationCallback | None:
        """Validates the run; None if there are no validation data."""
        data = user_inputs.open_validation(self.config, self.data, self._val_data)
        return None if data is None else make_validation(self, data)

    def schedule(self, callback: Callback) -> Hook:
        """Returns the loop's entry for a callback."""
        callback.generator = self.state.generator
        seconds = seconds_of(callback.every)
        every = self.images(callback.every) if seconds is None else None
        name = type(callback).__name__
        if not (every or seconds):
            raise ConfigError(f"{name}.every: must be more than {callback.every!r}.")
        return Hook(every, callback, name, seconds)

    def images(self, duration: str) -> int:
        """Converts an interval such as ``"2 epochs"`` to images; steps are the current stage's."""
        return images_of(duration, epoch_images=self.data.records, global_batch=self.step_images)


@contextlib.contextmanager
def _errors_of_stage(stage: int) -> Iterator[None]:
    """Adds the key of a later stage to the errors of the body."""
    try:
        yield
    except UserError as error:
        if not stage:
            raise
        raise type(error)(f"training.stages.{stage - 1}: {error}") from error
