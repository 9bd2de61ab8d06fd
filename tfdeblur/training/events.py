"""TensorBoard's event files, written without TensorFlow.

An event file holds TFRecords of serialized `Event` messages. Scalars and images are written as
`tf.summary.scalar` and `tf.summary.image` write them; the tests compare both.

Reference: event.proto, summary.proto and tensor.proto of TensorFlow, and
https://protobuf.dev/programming-guides/encoding.
"""

import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping

import numpy as np

from tfdeblur.data import tfrecord
from tfdeblur.data.encoding import encode_image
from tfdeblur.io import files

# Field numbers of the messages, and values of their enumerations.
_WALL_TIME, _STEP, _VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
_SESSION_START = 1
_VALUE, _NAME, _TENSOR, _METADATA = 1, 1, 8, 9
_PLUGIN = 1
_DTYPE, _SHAPE, _FLOATS, _STRINGS = 1, 2, 5, 8
_FLOAT, _STRING = 1, 7

_numbers = itertools.count()


class EventWriter:
    """Writes one event file; events are kept until `flush`.

    Args:
        folder: The folder to write to; created if it does not exist.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(self, folder: str) -> None:
        files.make_dirs(folder)
        # TensorBoard reads the files of a folder in the order of their names.
        place = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        name = f"events.out.tfevents.{time.time():.3f}.{place}.v2"
        self._path = files.join(folder, name)
        self._pending = b""
        self._add(0, tfrecord.field(_VERSION, b"brain.Event:2"))
        self.flush()

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each of some curves."""
        for name, value in values.items():
            tensor = tfrecord.field(_DTYPE, _FLOAT) + tfrecord.field(_SHAPE, b"")
            tensor += tfrecord.field(_FLOATS, struct.pack("<f", _float32(value)))
            self._add_value(step, name, "scalars", tensor)

    def add_images(self, step: int, name: str, images: np.ndarray) -> None:
        """Adds images, uint8 [N, H, W, 3]."""
        height, width = images.shape[1:3]
        texts = [str(width).encode(), str(height).encode()]
        texts += [encode_image(image, "png") for image in images]
        shape = tfrecord.field(2, tfrecord.field(1, len(texts)))
        tensor = tfrecord.field(_DTYPE, _STRING) + tfrecord.field(_SHAPE, shape)
        tensor += b"".join(tfrecord.field(_STRINGS, text) for text in texts)
        self._add_value(step, name, "images", tensor)

    def restart(self, step: int) -> None:
        """Marks the points after a step as obsolete, because they are computed again.

        TensorBoard's readers in Python drop them at the start of a session, from the second
        session on; without it they show both curves.
        """
        start = tfrecord.field(1, _SESSION_START)
        self._add(step + 1, tfrecord.field(_SESSION_LOG, start))

    def flush(self) -> None:
        """Appends the events to the file.

        Raises:
            UserError: The file cannot be written; the events are kept.
        """
        files.append_bytes(self._path, self._pending)
        self._pending = b""

    def _add_value(self, step: int, name: str, plugin: str, tensor: bytes) -> None:
        metadata = tfrecord.field(_PLUGIN, tfrecord.field(1, plugin.encode()))
        value = tfrecord.field(_NAME, name.encode()) + tfrecord.field(_TENSOR, tensor)
        value += tfrecord.field(_METADATA, metadata)
        self._add(step, tfrecord.field(_SUMMARY, tfrecord.field(_VALUE, value)))

    def _add(self, step: int, content: bytes) -> None:
        # A double has wire type 1.
        head = bytes([_WALL_TIME << 3 | 1]) + struct.pack("<d", time.time())
        event = head + tfrecord.field(_STEP, step) + content
        self._pending += b"".join(tfrecord.framed_record(event))


def _float32(value: float) -> float:
    """Returns a number that float32 can hold; those beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
