"""Builds runs as for training, but without data and files, to compile their steps."""

import dataclasses
import os
from typing import Any, cast

import keras
import numpy as np

from tfdeblur.config import PlugIn, TrainConfig
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.training.engines.engine import Engine
from tfdeblur.training.trainer import Trainer

# Durations in epochs require a number of records. The step depends on it only through constants of
# the schedule.
_RECORDS = 100_000


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """The properties of a data set that a run uses before it reads records."""

    height: int
    width: int
    records: int = _RECORDS

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Returns nothing: no checkpoint is written."""
        return {}


def build(run_config: TrainConfig, height: int, width: int, engine: Engine, folder: str) -> Trainer:
    """Builds a run whose engine will not train it.

    Args:
        run_config: The run.
        height: Height of a sample in pixels.
        width: Width of a sample in pixels.
        engine: Its engine.
        folder: A temporary folder.

    Raises:
        ConfigError: The run's settings are inconsistent.
    """
    data = cast(TrainingData, _Sizes(height, width))
    run = Trainer(_without_files(run_config, folder), train_data=data, engine=engine)
    run.prepare()
    run.build()
    return run


def count_parameters(run: Trainer) -> int:
    """Returns the number of parameters of all networks that a run trains."""
    return sum(trained.network.count_params() for trained in run.state.networks.values())


def _without_files(run_config: TrainConfig, folder: str) -> TrainConfig:
    """Drops settings that would read or download files: workdir, initial and VGG19 weights."""
    objective, precision = run_config.objective, run_config.runtime.precision
    model = run_config.model
    if hasattr(model.options, "backbone_weights"):
        blank = dataclasses.replace(model.options, backbone_weights="random")
        model = dataclasses.replace(model, options=blank)
    options = objective.options
    if getattr(options, "losses", {}).get("perceptual"):
        path = os.path.join(folder, "vgg19.npz")
        _write_blank_vgg19(path)
        perceptual = dataclasses.replace(options.perceptual, weights=path)
        options = dataclasses.replace(options, perceptual=perceptual)
    return dataclasses.replace(
        run_config,
        workdir=os.path.join(folder, "run"),
        model=model,
        objective=PlugIn(name=objective.name, options=options),
        training=dataclasses.replace(run_config.training, init_from=None, stages=()),
        # XLA of the host must not compile the step before the TPU compiler does.
        runtime=dataclasses.replace(
            run_config.runtime,
            xla="auto",
            # The precision of a TPU, and no deterministic ops, which XLA lacks.
            precision="bfloat16" if precision == "auto" else precision,
            deterministic=False,
        ),
    )


def _write_blank_vgg19(path: str) -> None:
    """Writes VGG19 with zero weights, on which the cost of a step does not depend."""
    network = keras.applications.VGG19(weights=None, include_top=False)
    arrays: dict[str, Any] = {
        f"{layer.name}/{part}": np.zeros(weight.shape, np.float32)
        for layer in network.layers
        for part, weight in zip(("kernel", "bias"), layer.weights, strict=False)
    }
    np.savez(path, **arrays)
