"""Whatever happens to the bytes of a record, the answer is a record or a DataError."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tfdeblur.data.test_schema import make_record, write_set
from tfdeblur.data import dataset, schema, tfrecord
from tfdeblur.errors import DataError
from tfdeblur.io import files

HEIGHT, WIDTH = 6, 5
ENCODING = st.sampled_from(["raw", "png"])
WHOLE = {name: schema.encode_record(make_record(), name) for name in ("raw", "png")}


def read(data, encoding):
    """Decodes a record; anything but a record or a DataError is a fault."""
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
def test_random_bytes(data, encoding):
    read(data, encoding)


@settings(deadline=None, max_examples=300)
@given(st.data(), ENCODING)
def test_flipped_bits(data, encoding):
    whole = bytearray(WHOLE[encoding])
    places = st.integers(0, 8 * len(whole) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        whole[place // 8] ^= 1 << place % 8
    read(bytes(whole), encoding)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_every_single_flipped_bit_of_the_head(encoding):
    for place in range(8 * 120):
        data = bytearray(WHOLE[encoding])
        data[place // 8] ^= 1 << place % 8
        read(bytes(data), encoding)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_every_truncation(encoding):
    whole = WHOLE[encoding]
    for length in range(len(whole)):
        assert read(whole[:length], encoding) is None
    assert read(whole, encoding) is not None


@settings(deadline=None, max_examples=200)
@given(st.data(), ENCODING)
def test_pieces_cut_out_doubled_and_swapped(data, encoding):
    whole = WHOLE[encoding]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=4)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    chosen = data.draw(st.lists(st.sampled_from(parts), max_size=6))
    read(b"".join(chosen), encoding)


def _png(width, height, depth=8, color=2):
    """The beginning of a PNG that claims any size; its check sums are right."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


PLACE = {"scene": "a", "frame": "b", "top": 0, "left": 0, "source_height": 1, "source_width": 1}


@settings(deadline=None, max_examples=100)
@example(image=_png(50_000, 50_000))
@example(image=_png(2**31 - 1, 2**31 - 1))
@example(image=_png(5, 6, depth=16))
@example(image=_png(5, 6, color=3))
@example(image=_png(0, 0))
@given(image=st.binary(max_size=100).map(lambda tail: WHOLE["png"][60:90] + tail))
def test_pictures_that_claim_to_be_what_they_are_not(image):
    sharp = tf.io.encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).numpy()
    assert read(tfrecord.serialize(blurred=image, sharp=sharp, **PLACE), "png") is None


@pytest.mark.parametrize("length", [300, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62])
def test_a_length_that_is_far_too_large(length):
    """From 2 GB to 4 GB TensorFlow's own parser would take the whole process down."""
    data = tfrecord.serialize(blurred=b"", sharp=b"x" * 90, **PLACE)
    start = data.index(b"x" * 90) - 1
    assert data[start] == 90
    claimed = bytearray()
    while length > 0x7F:
        claimed.append(0x80 | length & 0x7F)
        length >>= 7
    claimed.append(length)
    assert read(data[:start] + claimed + data[start + len(claimed) :], "raw") is None


@pytest.mark.parametrize("name", ["blurred", "scene", "source_width"])
def test_a_feature_that_is_missing_is_named(name):
    example = tf.train.Example.FromString(WHOLE["raw"])
    del example.features.feature[name]
    with pytest.raises(DataError, match=f"{name} has 0 values"):
        schema.decode_record(example.SerializeToString(), HEIGHT, WIDTH, "raw")
    example.features.feature[name].float_list.value.append(1.0)
    with pytest.raises(DataError, match=f"{name} has 0 values"):
        schema.decode_record(example.SerializeToString(), HEIGHT, WIDTH, "raw")


def test_names_that_are_no_text():
    data = WHOLE["raw"].replace(b"GOPR0854", b"GOPR\xff\xfe54")
    assert len(data) == len(WHOLE["raw"])
    with pytest.raises(DataError, match="no UTF-8 text"):
        schema.decode_record(data, HEIGHT, WIDTH, "raw")


@pytest.mark.parametrize("garbage", [b"garbage", b"\xd4\x02garbage\xff"])
def test_a_sound_shard_of_what_are_no_records_is_named(tmp_path, garbage):
    """TensorFlow's message about such bytes is no text, and reading it fails by itself."""
    folder = str(tmp_path / "set")
    manifest = write_set(folder, "raw", shards=(3,))
    path = files.join(folder, manifest.splits["train"].shards[0].file)
    with files.open_new(path) as file:
        tfrecord.ShardWriter(file).write([garbage])
    with pytest.raises(DataError, match=r"no tf\.train\.Example"):
        schema.decode_record(garbage, HEIGHT, WIDTH, "raw")
    damage = schema.find_damage(path, HEIGHT, WIDTH, "raw")
    assert f"{path} is damaged at record 0" in damage and len(damage) < len(path) + 200
    records = tf.data.TFRecordDataset([path])
    with pytest.raises(dataset.READ_ERRORS) as caught:
        list(records.map(lambda record: schema.parse_example(record, HEIGHT, WIDTH, "raw")))
    assert path in str(dataset.explain_read_error(caught.value, [folder], "train"))


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_whatever_the_reader_raises_becomes_an_error_that_names_the_shard(tmp_path, encoding):
    """Damages whole shards, reads them as training does, and asks what was wrong."""
    rng = np.random.default_rng(5)
    refused = 0
    for number in range(24):
        folder = str(tmp_path / f"{number}")
        manifest = write_set(folder, encoding)
        shard = manifest.splits["train"].shards[number % 2]
        path = files.join(folder, shard.file)
        data = bytearray(files.read_bytes(path))
        kind = ("flip", "fill", "zero")[number % 3]
        place = int(rng.integers(len(data)))
        length = 1 if kind == "flip" else int(rng.integers(1, 64))
        for spot in range(place, min(place + length, len(data))):
            data[spot] = {"flip": data[spot] ^ 1 << number % 8, "zero": 0}.get(
                kind, int(rng.integers(256))
            )
        files.write_bytes(path, bytes(data))
        if schema.sha256_of(path) == shard.sha256:
            continue
        try:
            records = tf.data.TFRecordDataset([path])
            for _ in records.map(lambda r: schema.parse_example(r, HEIGHT, WIDTH, encoding)):
                pass
        except tf.errors.OpError as error:
            found = dataset.explain_read_error(error, [folder], "train")
            assert isinstance(found, DataError) and path in str(found)
            refused += 1
    # The check sums of the records see any change of one.
    assert refused >= 22
