"""Keras's global settings, which decide the precision and layout of every layer that is built."""

import contextlib
import threading
from collections.abc import Iterator

import keras

FLOAT, LAYOUT = "float32", "channels_last"

_changing = threading.RLock()


@contextlib.contextmanager
def standard_settings() -> Iterator[None]:
    """Sets float32 and channels-last in the block, whatever ``keras.json`` or a notebook has set.

    Trained networks are loaded, run and exported in float32. Blocks of several threads run one
    after the other, because two of the settings belong to the whole process.
    """
    with _changing:
        policy = keras.config.dtype_policy()
        floatx, layout = keras.config.floatx(), keras.config.image_data_format()
        keras.config.set_floatx(FLOAT)
        keras.config.set_image_data_format(LAYOUT)
        keras.config.set_dtype_policy(FLOAT)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(policy)
            keras.config.set_image_data_format(layout)
            keras.config.set_floatx(floatx)
