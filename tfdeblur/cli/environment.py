"""What has to be installed before anything is done: commands look first, and say what is missing.

Nothing of it is imported here until it is looked for.
"""

import importlib.util

from tfdeblur.errors import UserError

_MISSING = (
    "{} is not installed: install one of the builds with"
    ' pip install "tfdeblur[cpu]", "tfdeblur[gpu]" or "tfdeblur[tpu]".'
)


def require_file_layer() -> None:
    """Checks that TensorFlow is installed, which reads and writes all files.

    Raises:
        UserError: It is not; the message says what to install.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(_MISSING.format("TensorFlow"))


def require_tensorflow() -> None:
    """Checks that TensorFlow is installed and that Keras runs on it.

    Raises:
        UserError: It is not so; the message says what to install or to set.
    """
    require_file_layer()
    if importlib.util.find_spec("keras") is None:
        raise UserError(_MISSING.format("Keras"))
    try:
        import keras
    except (ImportError, ValueError) as error:
        # Keras imports its backend at once; which one may stand in a file of the user's, too.
        raise UserError(
            f"Keras cannot load its backend ({error}): set the environment variable"
            " KERAS_BACKEND=tensorflow before Python starts."
        ) from error
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(
            f"Keras runs on {backend!r}, but this needs TensorFlow: set the environment variable"
            " KERAS_BACKEND=tensorflow before Python starts."
        )
