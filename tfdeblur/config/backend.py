"""The choice of Keras's backend: it determines the engine, and is final once Keras is imported."""

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from tfdeblur.errors import ConfigError, UserError

logger = logging.getLogger(__name__)

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}
"""Names of the engines by Keras's name of their backend."""

_VARIABLE = "KERAS_BACKEND"


def choose_backend(runtime: Any = None) -> None:
    """Sets Keras's backend by the variable ``KERAS_BACKEND``, unless Keras is imported already.

    A configured engine is used. ``auto`` respects the variable; else it is TensorFlow, or JAX if
    a TPU is requested that TensorFlow's build cannot use while JAX's can.

    Args:
        runtime: The section `runtime` of a configuration, not validated yet.

    Raises:
        ConfigError: Keras is imported already and uses another backend.
        UserError: The package of the backend is not installed, the variable is invalid, or Keras
            runs on a backend that no engine supports.
    """
    section = runtime if isinstance(runtime, Mapping) else {}
    engine = section.get("engine", "auto")
    requested = engine if engine in BACKENDS else None
    if "keras" in sys.modules:
        _check_imported(requested)
        return
    backend = requested or os.environ.get(_VARIABLE) or _backend_of_machine(section)
    if backend not in BACKENDS:
        raise UserError(
            f"The environment variable {_VARIABLE} is {backend!r}; tfdeblur runs on "
            f"{' or '.join(BACKENDS)}."
        )
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"{BACKENDS[backend]} is not installed: pip install "
            f'"tfdeblur[{"jax" if backend == "jax" else "cpu"}]".'
        )
    os.environ[_VARIABLE] = backend


def _check_imported(requested: str | None) -> None:
    backend = sys.modules["keras"].backend.backend()
    if backend not in BACKENDS:
        raise UserError(
            f"Keras runs on {backend!r}. Set the environment variable {_VARIABLE} to "
            f"{' or '.join(BACKENDS)} before Keras is imported."
        )
    if requested is not None and requested != backend:
        raise ConfigError(
            f"runtime.engine: {requested!r}, but Keras has been imported and runs on {backend!r}. "
            f"Set the environment variable {_VARIABLE}={requested} before Keras is imported, or "
            "restart the notebook's kernel."
        )


def _backend_of_machine(runtime: Mapping[str, Any]) -> str:
    """Returns the backend that is installed or can use a requested TPU; else TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None and importlib.util.find_spec("jax"):
        return "jax"
    if not (runtime.get("tpu") or runtime.get("strategy") == "tpu"):
        return "tensorflow"
    if is_installed("tensorflow-tpu") or None in map(importlib.util.find_spec, ("jax", "libtpu")):
        return "tensorflow"
    logger.info("runtime.engine: jax, because this TensorFlow is not built for TPUs.")
    return "jax"


def is_installed(distribution: str) -> bool:
    """Returns whether a distribution of this name, such as ``tensorflow-tpu``, is installed."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
