"""Checks for TensorFlow, Keras and OpenCV, which commands run before they import anything heavy."""

import importlib.util
from typing import Any

from tfdeblur.config.backend import BACKENDS, choose_backend
from tfdeblur.errors import UserError

_NAMES = {"tensorflow": "TensorFlow", "keras": "Keras"}

# Beside JAX, the libtpu or CUDA libraries of the other extras would replace those of JAX.
_BESIDE_JAX = 'pip install "tfdeblur[cpu]"'
_BUILDS = f'{_BESIDE_JAX}, "tfdeblur[gpu]", "tfdeblur[tpu]" or "tfdeblur[jax-tpu]"'


def require_packages(*packages: str) -> None:
    """Checks that packages are installed.

    Args:
        *packages: ``tensorflow`` or ``keras``; both if none is given.

    Raises:
        UserError: One is missing; the message gives the command that installs it.
    """
    for package in packages or _NAMES:
        if importlib.util.find_spec(package) is None:
            install = _BESIDE_JAX if importlib.util.find_spec("jax") else _BUILDS
            raise UserError(f"{_NAMES[package]} is not installed: {install}.")


def require_tensorflow() -> None:
    """Checks that TensorFlow is installed and that Keras runs on it.

    Raises:
        UserError: TensorFlow or Keras is missing, or Keras uses another backend; the message says
            what to install or set.
    """
    require_packages()
    _require_backend("tensorflow")


def require_keras() -> None:
    """Checks that Keras is installed and runs on TensorFlow or JAX.

    Raises:
        UserError: As for `require_tensorflow`.
    """
    require_packages("keras")
    choose_backend()
    _require_backend(*BACKENDS)


def _require_backend(*backends: str) -> None:
    try:
        import keras
    except Exception as error:
        # Keras reads its configuration file and imports its backend immediately. A file of other
        # content raises almost any type.
        raise UserError(
            f"Keras cannot be loaded ({error!r}). Set the environment variable"
            " KERAS_BACKEND=tensorflow before Python starts, and remove keras.json (in ~/.keras)"
            " if it is damaged."
        ) from error
    backend = keras.backend.backend()
    if backend not in backends:
        raise UserError(
            f"Keras runs on {backend!r}, but {' or '.join(backends)} is required; set the"
            " environment variable KERAS_BACKEND before Python starts."
        )


def require_opencv(purpose: str, extra: str) -> Any:
    """Returns the module `cv2`.

    Args:
        purpose: The subject of the message, such as ``Detection``.
        extra: The extra of this package that installs it.

    Raises:
        UserError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"{purpose} requires OpenCV: pip install 'tfdeblur[{extra}]' (or "
            "opencv-python-headless)."
        ) from error
    return cv2
