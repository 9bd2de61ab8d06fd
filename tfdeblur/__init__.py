"""Train, evaluate and deploy image-deblurring networks with TensorFlow and Keras.

Importing the package imports neither TensorFlow nor Keras; the functions below import them when
they are called.

Example:
    >>> import tfdeblur
    >>> "unet16" in tfdeblur.list_models()
    True
    >>> tfdeblur.build_model("unet16", width=8).count_params()
    120843
    >>> "unet16-cifar10" in tfdeblur.list_presets()
    True
    >>> sharp = tfdeblur.load("nafnet16-photo").deblur(blurred)  # doctest: +SKIP

`register` and `register_metric` add models, critics, objectives, sources and metrics of your own,
and `tfdeblur.testing` checks them.

Threads may share what `load` returns, and call `load` and the functions that list names at any
time. A `Trainer`, its callbacks, the `run` functions and the models of `build_model` are for one
thread at a time.

Each command has a configuration and a `run` function for notebooks: `tfdeblur.train.run`,
`tfdeblur.evaluate.run`, `tfdeblur.export.run` and `tfdeblur.deblur.run`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfdeblur._version import __version__
from tfdeblur.registry import register

if TYPE_CHECKING:
    import keras

    from tfdeblur.inference.restorer import Restorer
    from tfdeblur.metrics import register_metric as register_metric
    from tfdeblur.models.generator import Model
    from tfdeblur.training.callbacks import Callback as Callback
    from tfdeblur.training.trainer import Trainer as Trainer

__all__ = [
    "Callback",
    "Trainer",
    "__version__",
    "build_model",
    "list_models",
    "list_objectives",
    "list_presets",
    "list_recipes",
    "load",
    "register",
    "register_metric",
]


def list_models() -> list[str]:
    """Returns the names of all generators, for `build_model` and `--model`."""
    from tfdeblur.config import MODELS

    return MODELS.names()


def list_objectives() -> list[str]:
    """Returns the names of all objectives, for `--objective`."""
    from tfdeblur.config import OBJECTIVES

    return OBJECTIVES.names()


def list_presets() -> list[str]:
    """Returns the names of all presets, trained weights for `load` and `--model`."""
    from tfdeblur import presets

    return presets.names()


def list_recipes() -> list[str]:
    """Returns the names of all recipes, for `--recipe`."""
    from tfdeblur.config import recipes

    return recipes.names()


def build_model(name: str, **options: Any) -> keras.Model:
    """Builds an untrained generator as a Keras model for images of any size.

    Args:
        name: One of `list_models()`.
        **options: Options of the generator, such as `depth` of `rednet30`;
            `python -m tfdeblur.train --help-model NAME` lists them.

    Returns:
        A model from float32 images [B, H, W, 3] in [0, 1] to restored images of the same shape and
        range. The output is not clipped.

    Raises:
        ConfigError: Unknown name, unknown option or a value out of range; near names are
            suggested.
    """
    from tfdeblur import models

    return models.create(name, options).as_unit_model()


def load(path: str, model: Model | None = None) -> Restorer:
    """Loads a trained generator for the restoration of photographs.

    Args:
        path: The name of a preset, one of `list_presets()`; or the folder of a preset, a work
            directory of `tfdeblur.train`, one of its checkpoints, or a SavedModel of
            `tfdeblur.export`, local or with any scheme that TensorFlow reads, such as `gs://`. A
            path that exists wins over a name. A SavedModel is a program: load only those that you
            trust.
        model: The network of a run that trained one from Python, or a function that builds it; see
            `tfdeblur.Trainer`. It gets the weights.

    Returns:
        An object whose `deblur(image_or_batch)` restores uint8 or float images of any size.

    Raises:
        UserError: `path` is none of these; near names of presets are suggested.
    """
    from tfdeblur.inference.restorer import load_restorer

    return load_restorer(path, model=model)


# Names that load Keras or TensorFlow, with their modules.
_LAZY = {
    "Callback": "tfdeblur.training.callbacks",
    "Trainer": "tfdeblur.training.trainer",
    "register_metric": "tfdeblur.metrics",
}


# Modules of commands, with a `run` function each.
_COMMANDS = ("convert", "deblur", "detect", "doctor", "evaluate", "export", "preflight", "train")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_COMMANDS})


def __getattr__(name: str) -> Any:
    """Imports names that load Keras or TensorFlow, and commands, when they are first used."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _COMMANDS:
        return importlib.import_module(f"tfdeblur.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
