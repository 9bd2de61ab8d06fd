"""Writing and reading of records and TFRecord files, without TensorFlow.

TensorFlow takes seconds and hundreds of megabytes to import, while a process that writes shards
needs little more than these lines. A record is a serialized `tf.train.Example` with the features
of `schema`. The tests compare both formats with TensorFlow's own reader and writer.

Reference: https://protobuf.dev/programming-guides/encoding; tensorflow/core/example/example.proto
and feature.proto; TFRecord format details in https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from google_crc32c import extend as crc32c

from tfdeblur.errors import DataError

# Protocol buffers: wire types and field numbers.
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT = 10  # bytes

# Protocol buffers allow no larger message.
_MAX_RECORD = 1 << 31
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


def _head(number: int, length: int) -> bytes:
    """Returns the tag and the length that precede a field's bytes."""
    return _tag(number, _BYTES) + _varint(length)


def field(number: int, value: bytes | int) -> bytes:
    """Returns one field of a message: text, bytes, a message that is serialized, or an integer."""
    if isinstance(value, int):
        return _tag(number, _VARINT) + _varint(value)
    return _head(number, len(value)) + value


def serialized_example(features: Mapping[str, bytes | str | int]) -> bytes:
    """Returns a serialized `tf.train.Example` with one value for each feature."""
    parts: list[bytes] = []
    # Maps are unordered; sorting gives equal records equal bytes.
    for name, value in sorted(features.items()):
        if isinstance(value, bytes | str):
            kind, data = _BYTES_LIST, value.encode() if isinstance(value, str) else value
        else:
            # Numbers are packed: the length of the list, then its values.
            kind, data = _INT64_LIST, _varint(value)
        # From the inside out, so that images are copied once.
        head = _head(_LIST_VALUE, len(data))
        head = _head(kind, len(head) + len(data)) + head
        head = field(_KEY, name.encode()) + _head(_VALUE, len(head) + len(data)) + head
        parts += [_head(_FEATURES_FEATURE, len(head) + len(data)) + head, data]
    return b"".join([_head(_EXAMPLE_FEATURES, sum(map(len, parts))), *parts])


def _masked(checksum: int) -> bytes:
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)


def framed_record(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns a record with its length and its checksums, in the parts of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(crc32c(0, length)), data, _masked(crc32c(0, data))


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

    def write(self, record: bytes) -> None:
        """Writes one record."""
        for part in framed_record(record):
            self._file.write(part)
            # While it is in the CPU cache: reading the file again would cost far more.
            self._digest.update(part)
            self._bytes += len(part)
        self._records += 1

    def shard(self, name: str) -> Shard:
        """Returns the entry in the manifest for the file so far."""
        return Shard(name, self._records, self._bytes, self._digest.hexdigest())


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yields the records of a shard.

    Args:
        file: The open shard: of each record its length (8 bytes), the checksum of the length (4),
            the data and their checksum (4).

    Raises:
        DataError: The file ends inside a record, or a checksum differs.
    """
    while head := file.read(12):
        if len(head) < 12:
            raise DataError("the file ends inside a record")
        if _masked(crc32c(0, head[:8])) != head[8:]:
            raise DataError("the checksum of its length differs")
        length = int.from_bytes(head[:8], "little")
        if length >= _MAX_RECORD:
            raise DataError(f"it claims {length:,} bytes")
        data = file.read(length)
        checksum = file.read(4)
        if len(checksum) < 4:
            raise DataError("the file ends inside a record")
        if _masked(crc32c(0, data)) != checksum:
            raise DataError("its checksum differs")
        yield data


def parse_features(data: bytes) -> dict[str, list[Any]]:
    """Parses a serialized `tf.train.Example`.

    Args:
        data: The record.

    Returns:
        The values of each feature by name: bytes or integers; empty for floats, which records do
        not have.

    Raises:
        DataError: The bytes are not a `tf.train.Example`.
    """
    try:
        # Of a message that occurs twice, the parts are merged, as if they were written in one.
        features = _joined(memoryview(data), _EXAMPLE_FEATURES)
        found: dict[str, list[Any]] = {}
        for field, entry in _fields(features):
            if field == (_FEATURES_FEATURE, _BYTES):
                keys = [bytes(value) for f, value in _fields(entry) if f == (_KEY, _BYTES)]
                name = keys[-1].decode() if keys else ""
                found[name] = _values(_joined(entry, _VALUE))
    except (ValueError, IndexError) as error:
        raise DataError("its bytes are not a tf.train.Example") from error
    return found


def _values(feature: memoryview) -> list[Any]:
    """Returns the values of a feature, which holds one list; the last kind counts."""
    kind = None
    values: list[Any] = []
    for (number, wire), content in _fields(feature):
        if wire != _BYTES:
            continue
        if number != kind:
            kind, values = number, []
        if number == _BYTES_LIST:
            values += [bytes(v) for f, v in _fields(content) if f == (_LIST_VALUE, _BYTES)]
        elif number == _INT64_LIST:
            for field, value in _fields(content):
                if field == (_LIST_VALUE, _VARINT):
                    values.append(_signed(value))
                elif field == (_LIST_VALUE, _BYTES):
                    position = 0
                    while position < len(value):
                        one, position = _read_varint(value, position)
                        values.append(_signed(one))
    return values


def _joined(message: memoryview, number: int) -> memoryview:
    parts = [value for field, value in _fields(message) if field == (number, _BYTES)]
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _fields(message: memoryview) -> Iterator[tuple[tuple[int, int], Any]]:
    """Yields ((number, wire type), value) of each field of a message.

    Raises:
        ValueError: The bytes are not a message. IndexError: They end inside a number.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _read_varint(message, position)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field number {number}")
        value: Any
        if wire == _VARINT:
            value, position = _read_varint(message, position)
        else:
            if wire == _BYTES:
                length, position = _read_varint(message, position)
            elif wire in (_FIXED_32, _FIXED_64):
                length = 4 if wire == _FIXED_32 else 8
            else:
                raise ValueError(f"wire type {wire}")
            if length > end - position:
                raise ValueError("the message ends inside a field")
            value = message[position : position + length]
            position += length
        yield (number, wire), value


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Returns an unsigned number of 64 bits and the position after it."""
    value = 0
    for index in range(_MAX_VARINT):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (1 << 64) - 1, position + index + 1
    raise ValueError("a number of more than ten bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
