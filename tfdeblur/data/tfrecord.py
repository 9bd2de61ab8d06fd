"""Records as bytes, and files of records, without TensorFlow.

TensorFlow takes seconds and hundreds of megabytes to start, and of all of it a process that makes
shards would use these few lines. A record is a `tf.train.Example` (`schema` has its features) and
a file of them a TFRecord file; both formats are TensorFlow's, and its own reader and writer are
what the tests compare with.

Reference: https://protobuf.dev/programming-guides/encoding; tensorflow/core/example/example.proto
and feature.proto; TFRecord format details in https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Sequence
from typing import BinaryIO

from google_crc32c import extend as crc32c

# Tags of protocol buffers: the number of a field, and how its value is laid out.
_VARINT, _BYTES = 0, 2
_EXAMPLE_FEATURES, _FEATURES_FEATURE = 1, 1
_KEY, _VALUE = 1, 2
_BYTES_LIST, _INT64_LIST = 1, 3
_LIST_VALUE = 1

# The rotation and constant of TFRecord's checksums, so that a checksum of checksums is none.
_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of records: its name inside the folder, its counts and its checksum."""

    file: str
    records: int
    bytes: int
    sha256: str


def _varint(number: int) -> bytes:
    """Returns a number as protocol buffers lay it out: seven bits a byte, the lowest first."""
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
    """Returns one entry of the map of features, in pieces; images are not copied."""
    if isinstance(value, bytes):
        inner = [_framed(_LIST_VALUE, len(value)), value]
        kind = _BYTES_LIST
    else:
        # Numbers are packed: one length, then all of the list.
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
    """Returns a serialized record in pieces, so that large images need not be copied.

    Args:
        blurred: The blurred image, encoded.
        sharp: The sharp image, encoded.
        scene: Name of the scene.
        frame: Name of the frame.
        top: First row of the tile in its frame, in pixels.
        left: First column of the tile in its frame, in pixels.
        source_height: Rows of that frame.
        source_width: Columns of that frame.
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
    # Maps have no order of their own; sorted, equal records have equal bytes.
    pieces = [piece for name in sorted(features) for piece in _feature(name, features[name])]
    return [_framed(_EXAMPLE_FEATURES, sum(map(len, pieces))), *pieces]


def serialize(
    blurred: bytes,
    sharp: bytes,
    scene: str,
    frame: str,
    top: int,
    left: int,
    source_height: int,
    source_width: int,
) -> bytes:
    """Returns the serialized `tf.train.Example` of a record; see `record_pieces`."""
    return b"".join(
        record_pieces(blurred, sharp, scene, frame, top, left, source_height, source_width)
    )


def _masked(checksum: int) -> bytes:
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)


class ShardWriter:
    """Writes records into an open file as TFRecord, and counts and sums up what it writes.

    Args:
        file: A file open for writing; closing it is the caller's.
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
        # While the piece is still in the cache: reading the file again would cost far more.
        self._digest.update(piece)
        self._bytes += len(piece)

    def shard(self, name: str) -> Shard:
        """Returns what the manifest says of the file so far."""
        return Shard(name, self._records, self._bytes, self._digest.hexdigest())
