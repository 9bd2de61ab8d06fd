"""Records and files written without TensorFlow equal those that it writes."""

import hashlib
import io
import subprocess
import sys

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.data import tfrecord
from tfdeblur.errors import DataError
from tfdeblur.io import files

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBER = st.integers(-(2**63), 2**63 - 1)
VALUES = st.fixed_dictionaries(
    {
        "blurred": st.binary(max_size=400),
        "sharp": st.binary(max_size=20000),
        "scene": TEXT,
        "frame": TEXT,
        "top": NUMBER,
        "left": NUMBER,
        "source_height": NUMBER,
        "source_width": NUMBER,
    }
)


def serialized_by_tensorflow(values):
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            feature.bytes_list.value.append(data)
    return example.SerializeToString(deterministic=True)


@settings(deadline=None)
@given(VALUES)
def test_record_equals_protocol_buffers(values):
    assert tfrecord.serialized_example(values) == serialized_by_tensorflow(values)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(VALUES, max_size=4))
def test_shard_writer_equals_tensorflow(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfrecord", numbered=True)
    path, expected = str(folder / "ours"), str(folder / "theirs")
    with files.open_new(path) as file:
        writer = tfrecord.ShardWriter(file)
        for value in values:
            writer.write(tfrecord.serialized_example(value))
    with tf.io.TFRecordWriter(expected) as theirs:
        for value in values:
            theirs.write(serialized_by_tensorflow(value))
    data = files.read_bytes(expected)
    assert files.read_bytes(path) == data
    digest = hashlib.sha256(data).hexdigest()
    assert writer.shard("ours") == tfrecord.Shard("ours", len(values), len(data), digest)


@pytest.mark.parametrize("size", [0, 127, 128, 16383, 16384, 300_000])
def test_record_at_limits_of_varint_lengths_equals_protocol_buffers(size):
    values = {"blurred": b"x" * size, "sharp": b"", "scene": "a" * size, "frame": ""}
    values |= {"top": 0, "left": size, "source_height": -1, "source_width": 2**40}
    assert tfrecord.serialized_example(values) == serialized_by_tensorflow(values)


def test_shard_writer_does_not_import_tensorflow(tmp_path):
    script = (
        "import sys\n"
        "from tfdeblur.data import tfrecord\n"
        "from tfdeblur.io import files\n"
        f"with files.open_new({str(tmp_path / 'x')!r}) as file:\n"
        "    tfrecord.ShardWriter(file).write(b'ab')\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    records = [r.numpy() for r in tf.data.TFRecordDataset([str(tmp_path / "x")])]
    assert records == [b"ab"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_equals_rfc_3720(data, expected):
    """Reference: RFC 3720, appendix B.4."""
    assert tfrecord.crc32c(0, data) == expected
    assert tfrecord.crc32c(tfrecord.crc32c(0, data[:7]), data[7:]) == expected


@settings(deadline=None)
@given(VALUES)
def test_parsed_features_equal_the_written_ones(values):
    found = tfrecord.parse_features(tfrecord.serialized_example(values))
    encoded = {k: v.encode() if isinstance(v, str) else v for k, v in values.items()}
    assert found == {name: [value] for name, value in encoded.items()}


@settings(max_examples=300, deadline=None)
@given(VALUES, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_damaged_records_are_parsed_as_by_protocol_buffers_or_refused(values, changes):
    """Protocol buffers also drop entries of the map that have fields of no known number."""
    data = bytearray(tfrecord.serialized_example({**values, "sharp": b"", "blurred": b"xy"}))
    for place, byte in changes:
        data[place % len(data)] = byte
    try:
        found = tfrecord.parse_features(bytes(data))
    except DataError:
        return
    theirs = tf.train.Example.FromString(bytes(data)).features.feature
    for name, feature in theirs.items():
        lists = {"bytes_list": feature.bytes_list, "int64_list": feature.int64_list}
        kind = feature.WhichOneof("kind")
        assert found[name] == (list(lists[kind].value) if kind in lists else [])


@pytest.mark.parametrize("records", [[], [b""], [b"a", b"b" * 100_000]])
def test_read_records_returns_those_of_tensorflow(tmp_path, records):
    path = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    with open(path, "rb") as file:
        assert list(tfrecord.read_records(file)) == records


def test_read_records_refuses_every_truncation_and_every_changed_byte():
    file = io.BytesIO()
    writer = tfrecord.ShardWriter(file)
    writer.write(b"one")
    writer.write(b"two")
    intact = file.getvalue()
    first = len(intact) // 2
    for place in range(len(intact)):
        changed = bytearray(intact)
        changed[place] ^= 1
        for data in (changed, intact[:place]):
            if bytes(data) not in (b"", intact[:first]):
                with pytest.raises(DataError):
                    list(tfrecord.read_records(io.BytesIO(data)))
