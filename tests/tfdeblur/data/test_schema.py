"""Records come back as they were written, and damage is found and named."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.data import encoding as pixels
from tfdeblur.data import schema, tfrecord
from tfdeblur.errors import DataError
from tfdeblur.io import files


def make_record(height=6, width=5, seed=0, **fields):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return schema.Record(
        **{
            "blurred": images[0],
            "sharp": images[1],
            "scene": "GOPR0854_11_00",
            "frame": f"{seed:06d}",
            "top": 3,
            "left": 4,
            "source_height": 720,
            "source_width": 1280,
            **fields,
        }
    )


def assert_same(left, right):
    for field in dataclasses.fields(schema.Record):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


def write_set(folder, encoding="raw", shards=(3, 2), height=6, width=5):
    """A data set with one split whose shards hold the numbers of records given."""
    files.make_dirs(folder)
    written = []
    for index, count in enumerate(shards):
        name = schema.shard_name("train", index, len(shards))
        with tf.io.TFRecordWriter(files.join(folder, name)) as writer:
            for number in range(count):
                record = make_record(height, width, seed=10 * index + number)
                writer.write(schema.encode_record(record, encoding))
        path = files.join(folder, name)
        written.append(schema.Shard(name, count, files.size(path), schema.sha256_of(path)))
    split = schema.Split(height, width, encoding, sum(shards), ("a", "b"), tuple(written))
    manifest = schema.Manifest(
        source="gopro",
        blur={"kind": "recorded"},
        options={"tile": "5x6"},
        splits={"train": split},
        notes=("A note.",),
        fingerprint="f",
    )
    manifest.save(folder)
    return manifest


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
def test_records_come_back(height, width, encoding, name, place):
    record = make_record(height, width, scene=name, frame=name, top=place)
    data = schema.encode_record(record, encoding)
    assert_same(schema.decode_record(data, height, width, encoding), record)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_the_graph_reads_what_numpy_wrote(encoding):
    records = [make_record(seed=seed) for seed in range(4)]
    data = [schema.encode_record(record, encoding) for record in records]

    @tf.function
    def one(serialized):
        return schema.parse_example(serialized, 6, 5, encoding)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def many(serialized):
        parsed = schema.parse_batch(serialized, 6, 5, encoding)
        assert parsed["blurred"].shape.as_list() == [None, 6, 5, 3]
        return parsed

    batch = many(tf.constant(data))
    for index, record in enumerate(records):
        single = one(tf.constant(data[index]))
        for field in dataclasses.fields(schema.Record):
            expected = getattr(record, field.name)
            expected = expected.encode() if isinstance(expected, str) else expected
            np.testing.assert_array_equal(single[field.name].numpy(), expected)
            np.testing.assert_array_equal(batch[field.name][index].numpy(), expected)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_shapes_are_static(encoding):
    example = schema.encode_record(make_record(), encoding)
    dataset = tf.data.Dataset.from_tensors(example).map(
        lambda x: schema.parse_example(x, 6, 5, encoding)
    )
    assert dataset.element_spec["sharp"] == tf.TensorSpec([6, 5, 3], tf.uint8)
    batched = tf.data.Dataset.from_tensors(tf.constant([example] * 2)).map(
        lambda x: schema.parse_batch(x, 6, 5, encoding)
    )
    assert batched.element_spec["blurred"] == tf.TensorSpec([2, 6, 5, 3], tf.uint8)


def test_equal_records_have_equal_bytes():
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
def test_images_that_are_no_pair_are_refused(fields):
    with pytest.raises(ValueError, match=r"(?i)record"):
        schema.encode_record(make_record(**fields), "raw")


@pytest.mark.parametrize("data", [b"nonsense", b"", tf.train.Example().SerializeToString()])
def test_what_is_no_record_is_a_data_error(data):
    with pytest.raises(DataError, match="not a record"):
        schema.decode_record(data, 6, 5, "raw")


def test_images_of_the_wrong_size_or_damaged_are_data_errors():
    for encoding in ("png", "raw"):
        data = schema.encode_record(make_record(), encoding)
        with pytest.raises(DataError, match=r"5x7|6, 5, 3"):
            schema.decode_record(data, 7, 5, encoding)
    png = pixels.encode_image(make_record().sharp, "png")
    with pytest.raises(DataError, match="damaged PNG"):
        pixels.decode_image(png[:40], 6, 5, "png")


def test_manifest_comes_back(folder):
    manifest = write_set(folder)
    assert schema.Manifest.load(folder) == manifest
    assert schema.verify(folder, manifest, deep=True) == []
    schema.check_intact(folder, manifest)


def test_a_missing_manifest_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"has not finished.*data_prep\.build"):
        schema.Manifest.load(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        schema.Manifest.load(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "version 2; this tfdeblur reads 1. Update"),
        ({"schema_version": 0}, "version 0; this tfdeblur reads 1. Build"),
        ({"schema_version": "x"}, "version 'x'"),
        ({"splits": {"train": {"height": 3}}}, "damaged"),
        ({"splits": None}, "damaged"),
        ({"strange": 1}, "damaged.*strange"),
    ],
)
def test_other_versions_and_damage_are_refused(tmp_path, change, message):
    write_set(str(tmp_path))
    path = tmp_path / schema.MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message) as caught:
        schema.Manifest.load(str(tmp_path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 1}'])
def test_a_manifest_that_is_no_manifest(tmp_path, text):
    (tmp_path / schema.MANIFEST_NAME).write_text(text)
    with pytest.raises(DataError, match="not a readable manifest"):
        schema.Manifest.load(str(tmp_path))


def test_counts_that_contradict_are_refused(tmp_path):
    write_set(str(tmp_path))
    path = tmp_path / schema.MANIFEST_NAME
    content = json.loads(path.read_text())
    content["splits"]["train"]["records"] = 6
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="claims 6 records, its shards hold 5"):
        schema.Manifest.load(str(tmp_path))


def test_an_unknown_split_lists_those_that_exist(tmp_path):
    manifest = write_set(str(tmp_path))
    assert manifest.split("train").records == 5
    with pytest.raises(DataError, match=r"no split 'val' \(it has: train\). A note."):
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
        (damage_longer, "00001-of-00002.tfrecord is .* should be", False),
        (damage_altered, "00001-of-00002.tfrecord was altered", True),
        (damage_unknown, "00007-of-00009.tfrecord is a shard that the manifest does not", False),
    ],
)
def test_each_damage_is_found_and_named(tmp_path, damage, message, deep):
    manifest = write_set(str(tmp_path))
    damage(tmp_path / schema.shard_name("train", 1, 2))
    (problem,) = schema.verify(str(tmp_path), manifest, deep=deep)
    assert str(tmp_path) in problem
    assert re.search(message, problem)
    if not deep:
        with pytest.raises(DataError, match=message):
            schema.check_intact(str(tmp_path), manifest)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_damage_is_found_at_its_record(tmp_path, encoding):
    write_set(str(tmp_path), encoding)
    path = tmp_path / schema.shard_name("train", 0, 2)
    assert schema.find_damage(str(path), 6, 5, encoding) is None
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 6])
    assert f"{path} is damaged at record 2" in schema.find_damage(str(path), 6, 5, encoding)
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 255
    path.write_bytes(spoiled)
    assert f"{path} is damaged at record 1" in schema.find_damage(str(path), 6, 5, encoding)
    assert "missing" in schema.find_damage(str(path) + "x", 6, 5, encoding)


def test_a_truncated_picture_inside_a_sound_shard_is_found(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    good = pixels.encode_image(make_record().sharp, "png")
    place = {"scene": "s", "frame": "f", "top": 0, "left": 0}
    size = {"source_height": 6, "source_width": 5}
    with tf.io.TFRecordWriter(path) as writer:
        for sharp in (good, good[:-30]):
            writer.write(tfrecord.serialize(blurred=good, sharp=sharp, **place, **size))
    assert "damaged at record 1: a damaged PNG" in schema.find_damage(path, 6, 5, "png")
