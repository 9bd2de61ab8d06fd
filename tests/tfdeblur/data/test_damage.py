"""Any bytes decode to a record or raise a DataError."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.tiny_data import make_record, write_noise_set
from tfdeblur.data import dataset, schema, tfrecord
from tfdeblur.errors import DataError
from tfdeblur.io import files

HEIGHT, WIDTH = 6, 5
ENCODING = st.sampled_from(["raw", "png"])
INTACT = {name: schema.encode_record(make_record(), name) for name in ("raw", "png")}


def read(data, encoding):
    """Returns the decoded record, or None after a DataError; other errors fail the test."""
    try:
        record = schema.decode_record(data, HEIGHT, WIDTH, encoding)
    except DataError as error:
        assert str(error)
        return None
    for image in (record.blurred, record.sharp):
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert isinstance(record.scene, str) and isinstance(record.top, int)
    return record


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), ENCODING)
def test_random_bytes_raise_data_error_only(data, encoding):
    read(data, encoding)


@settings(deadline=None, max_examples=300)
@given(st.data(), ENCODING)
def test_flipped_bits_raise_data_error_only(data, encoding):
    record = bytearray(INTACT[encoding])
    bits = st.integers(0, 8 * len(record) - 1)
    for bit in data.draw(st.lists(bits, min_size=1, max_size=8)):
        record[bit // 8] ^= 1 << bit % 8
    read(bytes(record), encoding)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_each_flipped_bit_of_the_header_raises_data_error_only(encoding):
    for bit in range(8 * 120):
        data = bytearray(INTACT[encoding])
        data[bit // 8] ^= 1 << bit % 8
        read(bytes(data), encoding)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_each_truncation_raises_data_error(encoding):
    record = INTACT[encoding]
    for length in range(len(record)):
        assert read(record[:length], encoding) is None
    assert read(record, encoding) is not None


@settings(deadline=None, max_examples=200)
@given(st.data(), ENCODING)
def test_reordered_chunks_raise_data_error_only(data, encoding):
    record = INTACT[encoding]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(record)), min_size=2, max_size=4)))
    chunks = [record[a:b] for a, b in zip([0, *cuts], [*cuts, len(record)], strict=True)]
    chosen = data.draw(st.lists(st.sampled_from(chunks), max_size=6))
    read(b"".join(chosen), encoding)


def _png(width, height, depth=8, color=2):
    """Returns the beginning of a PNG that claims any size, with valid checksums."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


PLACE = {"scene": "a", "frame": "b", "top": 0, "left": 0, "source_height": 1, "source_width": 1}


@settings(deadline=None, max_examples=100)
@example(image=_png(50_000, 50_000))
@example(image=_png(2**31 - 1, 2**31 - 1))
@example(image=_png(5, 6, depth=16))
@example(image=_png(5, 6, color=3))
@example(image=_png(0, 0))
@given(image=st.binary(max_size=100).map(lambda tail: INTACT["png"][60:90] + tail))
def test_png_with_false_header_raises_data_error(image):
    sharp = tf.io.encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).numpy()
    data = tfrecord.serialized_example({"blurred": image, "sharp": sharp, **PLACE})
    assert read(data, "png") is None


@pytest.mark.parametrize("length", [300, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62])
def test_feature_with_too_large_length_raises_data_error(length):
    """TensorFlow's parser crashes the process for lengths from 2 GB to 4 GB."""
    data = tfrecord.serialized_example({"blurred": b"", "sharp": b"x" * 90, **PLACE})
    start = data.index(b"x" * 90) - 1
    assert data[start] == 90
    claimed = bytearray()
    while length > 0x7F:
        claimed.append(0x80 | length & 0x7F)
        length >>= 7
    claimed.append(length)
    assert read(data[:start] + claimed + data[start + len(claimed) :], "raw") is None


@pytest.mark.parametrize("name", ["blurred", "scene", "source_width"])
def test_missing_feature_raises_naming_it(name):
    example = tf.train.Example.FromString(INTACT["raw"])
    del example.features.feature[name]
    with pytest.raises(DataError, match=name):
        schema.decode_record(example.SerializeToString(), HEIGHT, WIDTH, "raw")
    example.features.feature[name].float_list.value.append(1.0)
    with pytest.raises(DataError, match=name):
        schema.decode_record(example.SerializeToString(), HEIGHT, WIDTH, "raw")


def test_names_that_are_not_utf8_raise():
    data = INTACT["raw"].replace(b"GOPR0854", b"GOPR\xff\xfe54")
    assert len(data) == len(INTACT["raw"])
    with pytest.raises(DataError, match="UTF-8"):
        schema.decode_record(data, HEIGHT, WIDTH, "raw")


@pytest.mark.parametrize("garbage", [b"garbage", b"\xd4\x02garbage\xff"])
def test_intact_shard_of_other_bytes_is_named(tmp_path, garbage):
    """TensorFlow quotes such bytes in its message, and decoding that message fails."""
    folder = str(tmp_path / "set")
    manifest = write_noise_set(folder, "raw", shards=(3,))
    path = files.join(folder, manifest.splits["train"].shards[0].file)
    with files.open_new(path) as file:
        tfrecord.ShardWriter(file).write(garbage)
    with pytest.raises(DataError, match=r"tf\.train\.Example"):
        schema.decode_record(garbage, HEIGHT, WIDTH, "raw")
    damage = schema.find_damage(path, HEIGHT, WIDTH, "raw")
    assert f"{path} is damaged at record 0" in damage and len(damage) < len(path) + 200
    records = tf.data.TFRecordDataset([path])
    with pytest.raises(DataError, match=path), dataset.read_errors([folder], "train"):
        list(records.map(lambda record: schema.parse_example(record, HEIGHT, WIDTH, "raw")))


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_read_error_of_any_damage_names_the_shard(tmp_path, encoding):
    """Damages shards and reads them in the same way as training."""
    rng = np.random.default_rng(5)
    refused = 0
    for number in range(24):
        folder = str(tmp_path / f"{number}")
        manifest = write_noise_set(folder, encoding)
        shard = manifest.splits["train"].shards[number % 2]
        path = files.join(folder, shard.file)
        data = bytearray(files.read_bytes(path))
        kind = ("flip", "fill", "zero")[number % 3]
        first = int(rng.integers(len(data)))
        length = 1 if kind == "flip" else int(rng.integers(1, 64))
        for byte in range(first, min(first + length, len(data))):
            data[byte] = {"flip": data[byte] ^ 1 << number % 8, "zero": 0}.get(
                kind, int(rng.integers(256))
            )
        files.write_bytes(path, bytes(data))
        if files.sha256_of(path) == shard.sha256:
            continue
        try:
            records = tf.data.TFRecordDataset([path])
            for _ in records.map(lambda r: schema.parse_example(r, HEIGHT, WIDTH, encoding)):
                pass
        except tf.errors.OpError as error:
            found = dataset.explain_read_error(error, [folder], "train")
            assert isinstance(found, DataError) and path in str(found)
            refused += 1
    # The checksums of the records detect any change.
    assert refused >= 22
