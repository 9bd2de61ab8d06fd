"""Serialization of records and TFRecord files, without TensorFlow.

TensorFlow takes seconds and hundreds of megabytes to import, while a process that writes shards
needs little more than these lines. A record is a serialized `tf.train.Example` with the features
of `schema`. The tests compare both formats with TensorFlow's own reader and writer.

Reference: https://protobuf.dev/programming-guides/encoding; tensorflow/core/example/example.proto
and feature.proto; TFRecord format details in https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Sequence
from typing import BinaryIO

from google_crc32c import extend as crc32c

# Protocol buffers: wire types and field numbers.
_VARINT, _BYTES = 0, 2
_EXAMPLE_FEATURES, _FEATURES_FEATURE = 1, 1
_KEY, _VALUE = 1, 2
_BYTES_LIST, _INT64_LIST = 1, 3
_LIST_VALUE = 1

# TFRecord masks checksums, since the CRC of data with embedded CRCs would be weak.
_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of records: its name within the data set, its size and its checksum."""

    file: str
    records: int
    bytes: int
    sha256: str


def _varint(number: int) -> bytes:
    """Returns the varint encoding of a number: seven bits per byte, lowest first."""
    if number < 0:
        number += 1 << 64
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | number & 0x7F)
        number >>= 7
    out.append(number)
    return bytes(out)


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _framed(field: int, length: int) -> bytes:
    return _tag(field, _BYTES) + _varint(length)


def _feature(name: str, value: bytes | int) -> list[bytes]:
    """Returns one entry of the map of features as pieces, without copying images."""
    if isinstance(value, bytes):
        inner = [_framed(_LIST_VALUE, len(value)), value]
        kind = _BYTES_LIST
    else:
        # Numbers are packed: the length of the list, then its values.
        packed = _varint(value)
        inner = [_framed(_LIST_VALUE, len(packed)), packed]
        kind = _INT64_LIST
    key = name.encode()
    length = len(inner[0]) + len(inner[1])
    listed = _framed(kind, length)
    length += len(listed)
    head = _framed(_KEY, len(key)) + key + _framed(_VALUE, length) + listed
    length = len(head) + len(inner[0]) + len(inner[1])
    return [_framed(_FEATURES_FEATURE, length) + head + inner[0], inner[1]]


def record_pieces(
    blurred: bytes,
    sharp: bytes,
    scene: str,
    frame: str,
    top: int,
    left: int,
    source_height: int,
    source_width: int,
) -> list[bytes]:
    """Returns a serialized record as pieces, without copying images.

    Args:
        blurred: The blurred image, encoded.
        sharp: The sharp image, encoded.
        scene: Name of the scene.
        frame: Name of the frame.
        top: First row of the tile in its frame, in pixels.
        left: First column of the tile in its frame, in pixels.
        source_height: Rows of the frame.
        source_width: Columns of the frame.
    """
    features: dict[str, bytes | int] = {
        "blurred": blurred,
        "sharp": sharp,
        "scene": scene.encode(),
        "frame": frame.encode(),
        "top": top,
        "left": left,
        "source_height": source_height,
        "source_width": source_width,
    }
    # Maps are unordered; sorting gives equal records equal bytes.
    pieces = [piece for name in sorted(features) for piece in _feature(name, features[name])]
    return [_framed(_EXAMPLE_FEATURES, sum(map(len, pieces))), *pieces]


def _masked(checksum: int) -> bytes:
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)


class ShardWriter:
    """Writes TFRecords to an open file, and computes their count, size and SHA-256.

    Args:
        file: A file open for writing; the caller closes it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._records = 0
        self._bytes = 0

    def write(self, pieces: Sequence[bytes]) -> None:
        """Writes one record, given as pieces; see `record_pieces`."""
        length = struct.pack("<Q", sum(map(len, pieces)))
        checksum = 0
        for piece in pieces:
            checksum = crc32c(checksum, piece)
        self._put(length + _masked(crc32c(0, length)))
        for piece in pieces:
            self._put(piece)
        self._put(_masked(checksum))
        self._records += 1

    def _put(self, piece: bytes) -> None:
        self._file.write(piece)
        # While the piece is in the CPU cache: reading the file again would cost far more.
        self._digest.update(piece)
        self._bytes += len(piece)

    def shard(self, name: str) -> Shard:
        """Returns the entry in the manifest for the file so far."""
        return Shard(name, self._records, self._bytes, self._digest.hexdigest())
