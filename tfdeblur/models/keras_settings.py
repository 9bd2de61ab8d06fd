"""Keras's global settings, which decide the precision and layout of every layer that is built."""

import contextlib
import threading
from collections.abc import Iterator

from tfdeblur.ops.precision import FLOAT, precision_scope

_changing = threading.RLock()


@contextlib.contextmanager
def standard_settings() -> Iterator[None]:
    """Sets float32 and channels-last in the block, whatever ``keras.json`` or a notebook has set.

    Trained networks are loaded, run and exported in float32. Blocks of several threads run one
    after the other, because two of the settings belong to the whole process.
    """
    with _changing, precision_scope(FLOAT):
        yield
