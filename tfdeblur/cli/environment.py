"""Checks for TensorFlow and Keras, which commands run before they import anything heavy."""

import importlib.util

from tfdeblur.errors import UserError

_MISSING = (
    "{} is not installed; install one of the builds with"
    ' pip install "tfdeblur[cpu]", "tfdeblur[gpu]" or "tfdeblur[tpu]".'
)


def require_file_layer() -> None:
    """Checks that TensorFlow is installed, which all file access uses.

    Raises:
        UserError: It is not installed; the message gives the command that installs it.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(_MISSING.format("TensorFlow"))


def require_tensorflow() -> None:
    """Checks that TensorFlow is installed and that Keras runs on it.

    Raises:
        UserError: TensorFlow or Keras is missing, or Keras uses another backend; the message says
            what to install or set.
    """
    require_file_layer()
    if importlib.util.find_spec("keras") is None:
        raise UserError(_MISSING.format("Keras"))
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
    if backend != "tensorflow":
        raise UserError(
            f"Keras runs on {backend!r}, but TensorFlow is required; set the environment variable"
            " KERAS_BACKEND=tensorflow before Python starts."
        )
