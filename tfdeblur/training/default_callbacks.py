"""The callbacks of every run: logs, warnings, validation, images and checkpoints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation.losses import GeneratorLoss
from tfdeblur.training.callbacks import (
    Callback,
    CheckpointCallback,
    LogCallback,
    PicturesCallback,
    ValidationCallback,
)
from tfdeblur.training.monitor import MonitorCallback
from tfdeblur.training.profiler import Profiler
from tfdeblur.training.validation import SampleRestorer, TrainingSamples, Validator

if TYPE_CHECKING:
    from tfdeblur.training.trainer import Trainer


def make_validation(run: "Trainer", data: EvaluationData) -> ValidationCallback:
    """Returns the callback that validates a run on a split."""
    pictures, before_batch = run.config.output.pictures, run.supervisor.before_validation_batch
    executor = run.engine.executor()
    loss = GeneratorLoss(run.state.generator, run.objective, run.state.critics)
    validate = Validator(run.state.generator, data, executor, pictures, before_batch, loss)
    return ValidationCallback(run, validate)


def default_callbacks(run: "Trainer", others: Sequence[Callback] = ()) -> list[Callback]:
    """Returns all callbacks of a run in the order of their calls; checkpoints come last.

    Args:
        run: The run, already built.
        others: The user's callbacks, which are called before a checkpoint is written.
    """
    output = run.config.output
    callbacks: list[Callback] = [
        LogCallback(run),
        MonitorCallback(output.log_every, run.config.guards),
    ]
    if run.validation is not None:
        callbacks.append(run.validation)
    else:
        samples = TrainingSamples(run.data, output.pictures)
        restore = SampleRestorer(run.state.generator, samples, run.engine.executor())
        callbacks.append(PicturesCallback(run, restore))
    callbacks += [*others, CheckpointCallback(run)]
    if output.profile:
        profiler = Profiler(run)
        return [profiler.end, *callbacks, profiler.begin]
    return callbacks
