"""Train, judge and ship image-deblurring networks with TensorFlow and Keras.

The names below are the library's front door. Importing the package is free: TensorFlow and Keras
are imported by the functions that need them, when they are called.

Example:
    >>> import tfdeblur
    >>> tfdeblur.list_models()
    ['rednet30', 'resnet16', 'unet16']
    >>> photo = tfdeblur.load("runs/unet16").deblur(blurred)

Each command has a configuration and a `run` function for notebooks: `tfdeblur.train.run`,
`tfdeblur.evaluate.run`, `tfdeblur.export.run` and `tfdeblur.deblur.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdeblur._version import __version__

if TYPE_CHECKING:
    import keras

    from tfdeblur.inference.restorer import Restorer

__all__ = [
    "__version__",
    "build_model",
    "list_models",
    "list_objectives",
    "list_recipes",
    "load",
]


def list_models() -> list[str]:
    """Returns the names of all generators that `build_model` and `model.name` take."""
    from tfdeblur.models import REGISTRY

    return REGISTRY.names()


def list_objectives() -> list[str]:
    """Returns the names of all objectives that `objective.name` takes."""
    from tfdeblur.objectives import REGISTRY

    return REGISTRY.names()


def list_recipes() -> list[str]:
    """Returns the names of all recipes that `--recipe` takes."""
    from tfdeblur.config import recipes

    return recipes.names()


def build_model(name: str, **options: Any) -> keras.Model:
    """Builds an untrained generator as a Keras model that takes images of any size.

    Args:
        name: One of `list_models()`.
        **options: The generator's own options, such as `depth` of `rednet30`;
            `python -m tfdeblur.train --help-model NAME` lists them.

    Returns:
        A model from float32 images [batch, height, width, 3] in [0, 1] to restored images of the
        same shape and scale. The output is not clipped.

    Raises:
        ConfigError: Unknown name or option, or a value out of range; the nearest names are given.
    """
    from tfdeblur import models

    return models.create(name, options).as_unit_model()


def load(path: str) -> Restorer:
    """Loads a trained generator for restoring photographs.

    Args:
        path: A work directory of `tfdeblur.train`, one of its checkpoints, or a SavedModel of
            `tfdeblur.export`. Local or any scheme TensorFlow reads, such as `gs://`.

    Returns:
        An object whose `deblur(image_or_batch)` restores uint8 or float images of any size.

    Raises:
        UserError: There is nothing at `path` that can be loaded.
    """
    from tfdeblur.inference.restorer import load_restorer

    return load_restorer(path)
