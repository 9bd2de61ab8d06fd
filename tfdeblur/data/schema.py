"""The format of data sets, which data preparation writes and training reads.

A data set is a folder with one `manifest.json` and, for each split, shards named
`train-00003-of-00016.tfrecord`. A record is a `tf.train.Example` with these features:

| feature | type | meaning |
| --- | --- | --- |
| `blurred`, `sharp` | bytes | uint8 RGB pixels, `raw` (C order, height x width x 3) or `png` |
| `scene`, `frame` | bytes | UTF-8 names of the scene and of the frame within it |
| `top`, `left` | int64 | offset of this tile in its frame, in pixels |
| `source_height`, `source_width` | int64 | size of the frame, after any resizing |

All images of a split have the same size, with one exception: a test split of whole images may
contain several sizes. All images of a shard have the same size even then, and the manifest lists
the sizes (`Split.sizes`, `Split.by_size`). The manifest is written last, so a folder without one
holds an unfinished build.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.data.encoding import Encoding, decode_image, encode_image
from tfdeblur.data.tfrecord import Shard as Shard
from tfdeblur.data.tfrecord import ShardWriter, parse_features, read_records, serialized_example
from tfdeblur.errors import DataError
from tfdeblur.io import files
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.registry import did_you_mean

# Version 2 adds `skipped` and `sizes`. A manifest without them is written as version 1.
VERSIONS = (1, 2)
MANIFEST_NAME = "manifest.json"
SHARD_SUFFIX = ".tfrecord"

_IMAGES = ("blurred", "sharp")
_NAMES = ("scene", "frame")
_NUMBERS = ("top", "left", "source_height", "source_width")


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """One training pair.

    Attributes:
        blurred: uint8 [height, width, 3], RGB.
        sharp: uint8 [height, width, 3], RGB, of the same size.
        scene: Name of the scene; each scene belongs to one split.
        frame: Name of the frame within its scene.
        top: First row of this tile in its frame.
        left: First column of this tile in its frame.
        source_height: Rows of the frame.
        source_width: Columns of the frame.
    """

    blurred: np.ndarray
    sharp: np.ndarray
    scene: str
    frame: str
    top: int
    left: int
    source_height: int
    source_width: int


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The records of one size in a split of images of several sizes; they fill whole shards."""

    height: int
    width: int
    records: int


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a data set, such as `train`.

    Attributes:
        height: Rows of its images; 0 if they differ in size.
        width: Columns of its images; 0 if they differ in size.
        encoding: Encoding of the images.
        records: Number of records.
        scenes: Names of its scenes, sorted.
        shards: Its files.
        sizes: The sizes of its images if they differ, in the order of the shards.
    """

    height: int
    width: int
    encoding: Encoding
    records: int
    scenes: tuple[str, ...]
    shards: tuple[Shard, ...]
    sizes: tuple[Sizes, ...] = ()

    def by_size(self) -> tuple[Split, ...]:
        """Returns the split as one split for each size of images, with its shards.

        `scenes` are those of the whole split.

        Raises:
            ValueError: The records of a size do not fill whole shards.
        """
        if not self.sizes:
            return (self,)
        parts = []
        rest = list(self.shards)
        for size in self.sizes:
            shards: list[Shard] = []
            while rest and sum(shard.records for shard in shards) < size.records:
                shards.append(rest.pop(0))
            if sum(shard.records for shard in shards) != size.records:
                raise ValueError(
                    f"the {size.records} records of {size.width}x{size.height} do not fill shards"
                )
            parts.append(
                dataclasses.replace(
                    self,
                    height=size.height,
                    width=size.width,
                    records=size.records,
                    shards=tuple(shards),
                    sizes=(),
                )
            )
        if rest:
            raise ValueError(f"no size is stated for the shard {rest[0].file}")
        return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Content and origin of a data set.

    Attributes:
        source: Name of the source it was built from, such as `gopro`.
        blur: `kind` of the blur and its parameters.
        options: The options of the build, as given.
        splits: The splits by name: `train`, `val`, `test`.
        notes: Remarks for users of the data, such as a missing split.
        fingerprint: Digest of everything that determines the shards; equal for equal builds.
        skipped: Faulty files of the source that were left out, one sentence each.
    """

    source: str
    blur: dict[str, Any]
    options: dict[str, Any]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def schema_version(self) -> int:
        """The lowest version of this format that can express the manifest."""
        mixed = any(split.sizes for split in self.splits.values())
        return 2 if mixed or self.skipped else 1

    @property
    def is_degraded(self) -> bool:
        """Whether the halves differ; sets for synthesized blur store the sharp image as both."""
        effects = ("read_noise", "shot_noise", "jpeg")
        return self.blur.get("kind") != "none" or any(self.blur.get(name) for name in effects)

    def save(self, directory: str) -> None:
        """Writes `manifest.json` into `directory` atomically."""
        content = {**dataclasses.asdict(self), "schema_version": self.schema_version}
        for part in (content, *content["splits"].values()):
            for name in ("skipped", "sizes"):
                if not part.get(name, True):
                    del part[name]
        text = json.dumps(content, indent=2) + "\n"
        # As intact after a power failure as the shards, whose journal is removed next.
        with files.open_new(files.join(directory, MANIFEST_NAME), fsync=True) as file:
            file.write(text.encode())

    @staticmethod
    def load(directory: str) -> Manifest:
        """Reads the manifest of the data set in `directory`.

        Raises:
            DataError: It is missing, unreadable, or of another version.
        """
        path = files.join(directory, MANIFEST_NAME)
        if not files.exists(path):
            state = "has no" if files.is_dir(directory) else "does not exist, so it has no"
            raise DataError(
                f"{directory} {state} {MANIFEST_NAME}: it is not a data set, or its build has not "
                "finished. Build it with `python -m data_prep.build`; the same command resumes."
            )
        try:
            version = (content := files.read_json(path))["schema_version"]
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is not a valid manifest ({error!r}).") from error
        if version not in VERSIONS:
            remedy = (
                "Update tfdeblur to read it."
                if isinstance(version, int) and version > max(VERSIONS)
                else "Build the data set again."
            )
            raise DataError(
                f"{path} has schema version {version!r}; this tfdeblur reads {min(VERSIONS)} to "
                f"{max(VERSIONS)}. {remedy}"
            )
        try:
            return manifest_from(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error!r}. Build the data set again.") from error

    def split(self, name: str, directory: str = "this data set") -> Split:
        """Returns the split called `name`.

        Raises:
            DataError: The split does not exist; the message suggests one that does.
        """
        if name not in self.splits:
            notes = " ".join(("", *self.notes))
            raise DataError(
                f"{directory} has no split {name!r}.{did_you_mean(name, self.splits)}{notes}"
            )
        return self.splits[name]


def manifest_from(content: Mapping[str, Any]) -> Manifest:
    """Returns the manifest with the content of a `manifest.json` of this version.

    Raises:
        ValueError: A split states another number of records than its shards. Other damage raises
            an AttributeError, a KeyError or a TypeError.
    """
    splits = {}
    for name, split in content["splits"].items():
        shards = tuple(Shard(**shard) for shard in split["shards"])
        sizes = tuple(Sizes(**size) for size in split.get("sizes", ()))
        changed = {"shards": shards, "scenes": tuple(split["scenes"]), "sizes": sizes}
        splits[name] = Split(**{**split, **changed})
        counted = sum(shard.records for shard in shards)
        if counted != splits[name].records:
            raise ValueError(
                f"split {name!r} states {splits[name].records} records, its shards {counted}"
            )
        splits[name].by_size()
    texts = {name: tuple(content.get(name, ())) for name in ("notes", "skipped")}
    rest = {name: value for name, value in content.items() if name != "schema_version"}
    return Manifest(**{**rest, **texts, "splits": splits})


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the name of shard `index` of `count`, such as `train-00003-of-00016.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}{SHARD_SUFFIX}"


def encode_record(record: Record, encoding: Encoding) -> bytes:
    """Returns the serialized `tf.train.Example` of a record.

    Raises:
        ValueError: The images are not uint8 RGB of one size.
    """
    if record.blurred.shape != record.sharp.shape:
        raise ValueError(
            f"The images of a record must have one shape. Received: {record.blurred.shape} and "
            f"{record.sharp.shape}."
        )
    images = {half: encode_image(getattr(record, half), encoding) for half in _IMAGES}
    return serialized_example({**vars(record), **images})


def write_shard(path: str, records: Iterable[bytes]) -> Shard:
    """Writes a shard atomically, and returns its entry in the manifest.

    Args:
        path: The shard, in an existing folder.
        records: Results of `encode_record`.
    """
    with files.open_new(path) as file:
        writer = ShardWriter(file)
        for record in records:
            writer.write(record)
    return writer.shard(files.base_name(path))


def decode_record(data: bytes, height: int, width: int, encoding: Encoding) -> Record:
    """Returns the record in a serialized `tf.train.Example`, as NumPy arrays.

    Raises:
        DataError: The bytes are not a valid record.
    """
    try:
        value = read_features(data)
    except DataError as error:
        raise DataError(f"not a valid record: {error}.") from error
    for half in _IMAGES:
        value[half] = decode_image(value[half], height, width, encoding)
    return Record(**value)


def read_features(data: bytes) -> dict[str, Any]:
    """Returns the features of a serialized record by name, with images still encoded.

    Raises:
        DataError: The bytes are not a valid record; the message is a clause with the reason.
    """
    found = parse_features(data)
    value: dict[str, Any] = {}
    for name in (*_IMAGES, *_NAMES, *_NUMBERS):
        kind = int if name in _NUMBERS else bytes
        values = [one for one in found.get(name, ()) if isinstance(one, kind)]
        if len(values) != 1:
            raise DataError(f"{name} has {len(values)} values instead of one")
        value[name] = values[0]
    try:
        return {**value, **{name: value[name].decode() for name in _NAMES}}
    except UnicodeDecodeError as error:
        raise DataError("its names are not UTF-8 text") from error


def parse_example(
    serialized: tf.Tensor,
    height: int,
    width: int,
    encoding: Encoding,
    images: Sequence[str] = _IMAGES,
    with_place: bool = True,
) -> dict[str, tf.Tensor]:
    """Parses one serialized record inside a TensorFlow graph.

    Args:
        serialized: string [].
        height: Rows of the split's images.
        width: Columns of the split's images.
        encoding: The split's encoding.
        images: The images to parse; a record may lack others.
        with_place: Whether to parse the other features too.

    Returns:
        The features by name: the images as uint8 [height, width, 3] with static shapes, `scene`
        and `frame` as string [], the others as int64 [].
    """
    types = dict.fromkeys(images, tf.string)
    if with_place:
        types |= dict.fromkeys(_NAMES, tf.string) | dict.fromkeys(_NUMBERS, tf.int64)
    # tf.io's parsers of a tf.train.Example believe the length of a value: they crash or allocate as
    # much. A SequenceExample with nothing but a context has the same bytes, and a safe parser.
    values = tf.raw_ops.ParseSingleSequenceExample(
        serialized=serialized,
        context_dense_keys=list(types),
        context_dense_defaults=[tf.constant([], kind) for kind in types.values()],
        context_dense_shapes=[[]] * len(types),
        context_sparse_keys=[],
        context_sparse_types=[],
        feature_list_dense_missing_assumed_empty=tf.constant([], tf.string),
        feature_list_dense_keys=[],
        feature_list_dense_types=[],
        feature_list_dense_shapes=[],
        feature_list_sparse_keys=[],
        feature_list_sparse_types=[],
        debug_name="",
    ).context_dense_values
    parsed = dict(zip(types, values, strict=True))
    for name in images:
        if encoding == "raw":
            image = tf.reshape(tf.io.decode_raw(parsed[name], tf.uint8), [height, width, 3])
        else:
            image = tf.ensure_shape(tf.io.decode_png(parsed[name], 3), [height, width, 3])
        parsed[name] = image
    return parsed


def parse_raw_batch(
    serialized: tf.Tensor, height: int, width: int, images: Sequence[str] = _IMAGES
) -> dict[str, tf.Tensor]:
    """Parses the images of a batch of serialized records with raw images.

    For many small records, this costs a fraction of `parse_example` for each.

    Args:
        serialized: string [batch].
        height: Rows of the split's images.
        width: Columns of the split's images.
        images: The images to parse; a record may lack others.

    Returns:
        The images by name, as uint8 [batch, height, width, 3].
    """

    def decode(messages: tf.Tensor, kind: str, *fields: str) -> list[tf.Tensor]:
        """Returns the fields of messages as string [..., count], where "" stands for a gap."""
        types = [tf.string] * len(fields)
        return list(tf.io.decode_proto(messages, f"tensorflow.{kind}", fields, types).values)

    def only(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(values, [*values.shape[:-1], 1])[..., 0]

    # Message by message, since tf.io.parse_example is not safe; see `parse_example`.
    [content] = decode(serialized, "Example", "features")
    [entries] = decode(only(content), "Features", "feature")
    names, features = map(only, decode(entries, "Features.FeatureEntry", "key", "value"))
    # The last of equal names counts, as in any map; without any, the value is empty.
    features = tf.concat([tf.zeros_like(features[:, :1]), features], axis=1)
    position = tf.range(1, tf.shape(features)[1])
    named = tf.equal(names[:, None], tf.constant(images)[:, None])  # [batch, images, features]
    chosen = tf.reduce_max(tf.where(named, position, 0), axis=-1)
    [lists] = decode(tf.gather(features, chosen, batch_dims=1), "Feature", "bytes_list")
    [values] = decode(only(lists), "BytesList", "value")
    parsed = {}
    for name, value in zip(images, tf.unstack(only(values), len(images), axis=1), strict=True):
        pixels = tf.reshape(tf.io.decode_raw(value, tf.uint8), [-1, height, width, 3])
        parsed[name] = tf.ensure_shape(pixels, [serialized.shape[0], height, width, 3])
    return parsed


def difference_of(path: str, shard: Shard, deep: bool = False) -> str:
    """Returns how a file differs from its entry in the manifest, as a clause; empty if intact.

    Args:
        path: The file, which exists.
        shard: Its entry.
        deep: Also read the file and compare its SHA-256.
    """
    size = files.size(path)
    if size != shard.bytes:
        kind = "truncated" if size < shard.bytes else "altered"
        return f"{kind}: {size} bytes instead of {shard.bytes}"
    if deep and files.sha256_of(path) != shard.sha256:
        return "altered: its SHA-256 differs from the manifest"
    return ""


def verify(directory: str, manifest: Manifest, deep: bool = False) -> list[str]:
    """Compares the shards of a data set with its manifest.

    Reading a shard that was truncated at the end of a record raises no error, so the sizes are
    compared, which costs one request per file.

    Args:
        directory: Folder of the data set.
        manifest: Its manifest.
        deep: Also read every shard and compare its SHA-256.

    Returns:
        One sentence per problem, with the path of the shard; empty without problems.
    """
    problems = []
    present = {name for name in files.list_dir(directory) if name.endswith(SHARD_SUFFIX)}
    for split in manifest.splits.values():
        for shard in split.shards:
            path = files.join(directory, shard.file)
            if shard.file not in present:
                problems.append(f"{path} is missing.")
                continue
            present.discard(shard.file)
            difference = difference_of(path, shard, deep)
            if difference:
                problems.append(f"{path} is {difference}.")
    problems.extend(
        f"{files.join(directory, name)} is a shard that the manifest does not list."
        for name in sorted(present)
    )
    return problems


def check_intact(directory: str, manifest: Manifest) -> None:
    """Raises a DataError that lists the problems that `verify` finds, if any."""
    problems = verify(directory, manifest)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(
            f"{directory} does not agree with its manifest:\n{listed}{more}\n"
            "The command that built it rebuilds missing and damaged shards."
        )


def find_damage(
    path: str, height: int, width: int, encoding: Encoding, tensorflow: bool = False
) -> str | None:
    """Reads a shard record by record until the first damaged one.

    TensorFlow's errors about damaged records and images do not name the file; this function finds
    it afterwards.

    Args:
        path: The shard.
        height: Rows of the split's images.
        width: Columns of the split's images.
        encoding: The split's encoding.
        tensorflow: Whether to decode images with TensorFlow too, which is stricter than Pillow.

    Returns:
        A sentence with the path and the index of the first damaged record, or None if intact.
    """
    if not files.exists(path):
        return f"{path} is missing."
    index = 0
    try:
        with files.open_read(path) as file:
            for data in read_records(file):
                decode_record(data, height, width, encoding)
                if tensorflow and encoding == "png":
                    _decode_by_tensorflow(data)
                index += 1
    except DataError as error:
        return f"{path} is damaged at record {index}: {str(error).rstrip('.')}."
    return None


def _decode_by_tensorflow(data: bytes) -> None:
    features = read_features(data)
    for half in _IMAGES:
        try:
            tf.io.decode_png(features[half], 3)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(f"{half} is a PNG that TensorFlow does not decode") from error
