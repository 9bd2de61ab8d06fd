"""Records and manifests survive a round trip, and damage is detected and named."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tiny_data import make_record, write_noise_set
from tfdeblur.data import schema, tfrecord
from tfdeblur.data.encoding import decode_image, encode_image
from tfdeblur.errors import DataError


def assert_same(left, right):
    for field in dataclasses.fields(schema.Record):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    return str(tmp_path / "set") if request.param == "local" else f"ram://schema-{tmp_path.name}"


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["png", "raw"]),
    st.text(max_size=8),
    st.integers(0, 2**40),
)
def test_record_round_trip_is_lossless(height, width, encoding, name, place):
    record = make_record(height, width, scene=name, frame=name, top=place)
    data = schema.encode_record(record, encoding)
    assert_same(schema.decode_record(data, height, width, encoding), record)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_parse_in_a_graph_equals_the_encoded_record(encoding):
    records = [make_record(seed=seed) for seed in range(4)]
    data = [schema.encode_record(record, encoding) for record in records]

    @tf.function(autograph=False)
    def one(serialized):
        return schema.parse_example(serialized, 6, 5, encoding)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def many(serialized):
        parsed = schema.parse_raw_batch(serialized, 6, 5)
        assert parsed["blurred"].shape.as_list() == [None, 6, 5, 3]
        return parsed

    batch = many(tf.constant([schema.encode_record(record, "raw") for record in records]))
    for index, record in enumerate(records):
        single = one(tf.constant(data[index]))
        for field in dataclasses.fields(schema.Record):
            expected = getattr(record, field.name)
            expected = expected.encode() if isinstance(expected, str) else expected
            np.testing.assert_array_equal(single[field.name].numpy(), expected)
            if field.name in batch:
                np.testing.assert_array_equal(batch[field.name][index].numpy(), expected)
    assert set(batch) == {"blurred", "sharp"}


def feature(name, values):
    """Returns a serialized entry of a record, with any number of values."""
    content = b"".join(tfrecord.field(1, value) for value in values)
    return entry(name, content)


def entry(name, content):
    """Returns a serialized entry of a record, given the serialized `tf.train.BytesList`."""
    value = tfrecord.field(2, tfrecord.field(1, content))
    return tfrecord.field(1, tfrecord.field(1, name) + value)


def record_of(*entries):
    return tfrecord.field(1, b"".join(entries))


def images_by(parser, records):
    """Returns the images of records in the way of training, by either function."""
    if parser == "batch":
        parsed = schema.parse_raw_batch(tf.constant(records), 6, 5)
        return [{half: images[index] for half, images in parsed.items()} for index in range(2)]
    return [schema.parse_example(record, 6, 5, "raw", with_place=False) for record in records]


@pytest.mark.parametrize("parser", ["single", "batch"])
def test_parsing_finds_images_by_name_in_any_order(parser):
    blurred, sharp, other = (np.full((6, 5, 3), value, np.uint8).tobytes() for value in (1, 2, 3))
    twice = (feature(b"blurred", [other]), feature(b"blurred", [blurred]))
    records = [
        record_of(feature(b"sharp", [sharp]), feature(b"x", [other]), twice[1]),
        record_of(twice[0], feature(b"sharp", [sharp]), feature(b"", [other]), twice[1]),
    ]
    for parsed in images_by(parser, records):
        assert int(parsed["blurred"][0, 0, 0]) == 1 and int(parsed["sharp"][0, 0, 0]) == 2


PIXELS = bytes(6 * 5 * 3)
BLURRED, SHARP = feature(b"blurred", [PIXELS]), feature(b"sharp", [PIXELS])


@pytest.mark.parametrize("parser", ["single", "batch"])
@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"garbage",
        record_of(BLURRED),
        record_of(BLURRED, feature(b"sharp", [])),
        record_of(BLURRED, feature(b"sharp", [PIXELS, PIXELS])),
        record_of(BLURRED, feature(b"sharp", [PIXELS[1:]])),
        record_of(BLURRED, SHARP)[:-1],
        # Lengths as `tf.io.parse_example` believes them: it allocates as much, or crashes.
        *(
            record_of(BLURRED, entry(b"sharp", b"\x0a" + claim + PIXELS))
            for claim in (
                b"\xff\xff\xff\xff\x07",
                b"\x80\x80\x80\x80\x08",
                b"\xff\xff\xff\xff\x0f",
                b"\xff" * 9 + b"\x01",
            )
        ),
    ],
)
def test_parsing_of_a_damaged_record_raises(parser, damaged):
    intact = record_of(BLURRED, SHARP)
    assert len(images_by(parser, [intact, intact])) == 2
    # TensorFlow quotes the record in its message, which may not be UTF-8.
    with pytest.raises((tf.errors.OpError, UnicodeDecodeError)):
        images_by(parser, [intact, damaged])


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_parse_in_a_dataset_has_static_shapes(encoding):
    example = schema.encode_record(make_record(), encoding)
    dataset = tf.data.Dataset.from_tensors(example).map(
        lambda x: schema.parse_example(x, 6, 5, encoding)
    )
    assert dataset.element_spec["sharp"] == tf.TensorSpec([6, 5, 3], tf.uint8)
    batched = tf.data.Dataset.from_tensors(tf.constant([example] * 2)).map(
        lambda x: schema.parse_raw_batch(x, 6, 5)
    )
    assert batched.element_spec["blurred"] == tf.TensorSpec([2, 6, 5, 3], tf.uint8)


def test_encode_record_is_deterministic():
    first = schema.encode_record(make_record(), "png")
    assert first == schema.encode_record(make_record(), "png")


@pytest.mark.parametrize(
    "fields",
    [
        {"sharp": np.zeros((6, 4, 3), np.uint8)},
        {"sharp": np.zeros((6, 5, 3), np.float32)},
        {name: np.zeros((6, 5, 1), np.uint8) for name in ("blurred", "sharp")},
        {name: np.zeros((6, 5), np.uint8) for name in ("blurred", "sharp")},
    ],
)
def test_encode_record_of_invalid_images_raises(fields):
    with pytest.raises(ValueError, match="record"):
        schema.encode_record(make_record(**fields), "raw")


@pytest.mark.parametrize("data", [b"nonsense", b"", tf.train.Example().SerializeToString()])
def test_decode_record_of_other_bytes_raises(data):
    with pytest.raises(DataError, match="not a valid record"):
        schema.decode_record(data, 6, 5, "raw")


def test_decode_image_of_wrong_size_or_truncated_raises():
    for encoding in ("png", "raw"):
        data = schema.encode_record(make_record(), encoding)
        with pytest.raises(DataError, match=r"5x7|6, 5, 3"):
            schema.decode_record(data, 7, 5, encoding)
    png = encode_image(make_record().sharp, "png")
    with pytest.raises(DataError, match="damaged PNG"):
        decode_image(png[:40], 6, 5, "png")


def test_manifest_round_trip_is_lossless(folder):
    manifest = write_noise_set(folder)
    assert schema.Manifest.load(folder) == manifest
    assert schema.verify(folder, manifest, deep=True) == []
    schema.check_intact(folder, manifest)


def test_missing_manifest_raises_with_the_build_command(tmp_path):
    with pytest.raises(DataError, match=r"data_prep\.build"):
        schema.Manifest.load(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        schema.Manifest.load(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "version 3.*Update"),
        ({"schema_version": 0}, "version 0.*Build"),
        ({"schema_version": "x"}, "version 'x'"),
        ({"splits": {"train": {"height": 3}}}, "damaged"),
        ({"splits": None}, "damaged"),
        ({"strange": 1}, "damaged.*strange"),
    ],
)
def test_manifest_of_other_version_or_damaged_raises(tmp_path, change, message):
    write_noise_set(str(tmp_path))
    path = tmp_path / schema.MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message) as caught:
        schema.Manifest.load(str(tmp_path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 1}'])
def test_invalid_manifest_raises_naming_it(tmp_path, text):
    (tmp_path / schema.MANIFEST_NAME).write_text(text)
    with pytest.raises(DataError, match=schema.MANIFEST_NAME):
        schema.Manifest.load(str(tmp_path))


def test_manifest_with_contradicting_counts_raises(tmp_path):
    write_noise_set(str(tmp_path))
    path = tmp_path / schema.MANIFEST_NAME
    content = json.loads(path.read_text())
    content["splits"]["train"]["records"] = 6
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"train.*6 records.*5"):
        schema.Manifest.load(str(tmp_path))


def test_unknown_split_raises_naming_known_ones(tmp_path):
    manifest = write_noise_set(str(tmp_path))
    assert manifest.split("train").records == 5
    with pytest.raises(DataError, match=r"DIR.*'val'.*train.*A note\."):
        manifest.split("val", "DIR")


def damage_missing(path):
    path.unlink()


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_longer(path):
    path.write_bytes(path.read_bytes() + b"x")


def damage_altered(path):
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def damage_unknown(path):
    (path.parent / "train-00007-of-00009.tfrecord").write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("damage", "message", "deep"),
    [
        (damage_missing, "00001-of-00002.tfrecord is missing", False),
        (damage_truncated, "00001-of-00002.tfrecord is truncated", False),
        (damage_longer, "00001-of-00002.tfrecord is ", False),
        (damage_altered, "00001-of-00002.tfrecord is altered", True),
        (damage_unknown, "00007-of-00009.tfrecord", False),
    ],
)
def test_verify_names_each_damaged_shard(tmp_path, damage, message, deep):
    manifest = write_noise_set(str(tmp_path))
    damage(tmp_path / schema.shard_name("train", 1, 2))
    (problem,) = schema.verify(str(tmp_path), manifest, deep=deep)
    assert str(tmp_path) in problem
    assert re.search(message, problem)
    if not deep:
        with pytest.raises(DataError, match=message):
            schema.check_intact(str(tmp_path), manifest)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_find_damage_names_shard_and_record(tmp_path, encoding):
    write_noise_set(str(tmp_path), encoding)
    path = tmp_path / schema.shard_name("train", 0, 2)
    assert schema.find_damage(str(path), 6, 5, encoding) is None
    intact = path.read_bytes()
    path.write_bytes(intact[: len(intact) * 5 // 6])
    assert f"{path} is damaged at record 2" in schema.find_damage(str(path), 6, 5, encoding)
    damaged = bytearray(intact)
    damaged[len(intact) // 2] ^= 255
    path.write_bytes(damaged)
    assert f"{path} is damaged at record 1" in schema.find_damage(str(path), 6, 5, encoding)
    assert "missing" in schema.find_damage(str(path) + "x", 6, 5, encoding)


def test_find_damage_names_a_truncated_image_in_an_intact_shard(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    intact = encode_image(make_record().sharp, "png")
    place = {"scene": "s", "frame": "f", "top": 0, "left": 0}
    size = {"source_height": 6, "source_width": 5}
    records = [
        tfrecord.serialized_example({"blurred": intact, "sharp": sharp, **place, **size})
        for sharp in (intact, intact[:-30])
    ]
    schema.write_shard(path, records)
    assert "damaged at record 1" in schema.find_damage(path, 6, 5, "png")


def test_find_damage_names_an_image_that_only_pillow_decodes(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    intact = encode_image(make_record().sharp, "png")
    place = {"scene": "s", "frame": "f", "top": 0, "left": 0}
    size = {"source_height": 6, "source_width": 5}
    other = intact.replace(b"IEND", b"IEN\xff")
    records = [
        tfrecord.serialized_example({"blurred": blurred, "sharp": intact, **place, **size})
        for blurred in (intact, other)
    ]
    schema.write_shard(path, records)
    assert schema.find_damage(path, 6, 5, "png") is None
    assert "damaged at record 1: blurred" in schema.find_damage(path, 6, 5, "png", tensorflow=True)
