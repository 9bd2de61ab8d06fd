"""Opening data sets, with all checks that are possible before reading; and errors of reading."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from tfdeblur.config import DataConfig
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.ops.lazy import tensorflow as tf

# The failed operation, if it is one that waits for data.
_READING = re.compile(
    r"(\{\{node [^}]*|\[Op:)(\w*IteratorGetNext\w*|DatasetToSingleElement)(\}\}|\])"
)


@dataclasses.dataclass(frozen=True)
class OpenSplit:
    """One split of a data set whose files agree with its manifest.

    Attributes:
        directory: Folder of the data set.
        manifest: Its manifest.
        split: The split in the manifest.
    """

    directory: str
    manifest: schema.Manifest
    split: schema.Split

    @property
    def shards(self) -> list[schema.Shard]:
        """The shards that are not empty, in file order."""
        return [shard for shard in self.split.shards if shard.records]

    @property
    def paths(self) -> list[str]:
        """The paths of `shards`."""
        return [files.join(self.directory, shard.file) for shard in self.shards]

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Returns plain values for JSON that are equal for copies of the same images.

        Args:
            validation_split: Another split to include if the data set has it.
        """
        other = self.manifest.splits.get(validation_split or "")
        return {
            "records": self.split.records,
            "training shards": digest_of(self.split),
            "validation shards": digest_of(other),
        }

    @property
    def record_bytes(self) -> int:
        """Mean size of a stored record."""
        return sum(shard.bytes for shard in self.shards) // self.split.records

    @property
    def remote(self) -> bool:
        """Whether the files are on a network file system, where requests are slow."""
        scheme, separator, _ = self.directory.partition("://")
        return bool(separator) and scheme not in ("file", "ram")

    @property
    def buffer_bytes(self) -> int | None:
        """Size of the read buffer; None is TensorFlow's default."""
        if self.remote:
            return 4 << 20
        # A large record fills a request by itself; a buffer would only add a copy.
        return 0 if self.record_bytes >= 1 << 16 else None


def open_split(path: str, name: str, *, several_sizes: bool = False) -> OpenSplit:
    """Opens one split of the data set in a folder.

    Compares existence and size of every shard with the manifest, which detects shards that are
    missing, truncated (even at the end of a record) or left over from another build.

    Args:
        path: Folder of the data set.
        name: Name of the split, such as `train`.
        several_sizes: Whether the images may differ in size.

    Raises:
        DataError: The data set or the split does not exist, the split is empty, its images differ
            in size although they must not, or the files do not agree with the manifest.
    """
    manifest = schema.Manifest.load(path)
    opened = OpenSplit(path, manifest, manifest.split(name, path))
    if not opened.split.records:
        raise DataError(f"The split {name!r} of {path} has no records.")
    if not several_sizes:
        check_one_size(path, name, len(opened.split.sizes))
    schema.check_intact(path, manifest)
    return opened


def check_one_size(path: str, name: str, sizes: int) -> None:
    """Raises a DataError if the images of a split have more than one size.

    Args:
        path: Folder of the data set.
        name: Name of the split.
        sizes: The number of sizes.
    """
    if sizes > 1:
        raise DataError(
            f"The images of the split {name!r} of {path} have {sizes} sizes, and training and "
            "validation require one. Build the data set with --test-tile or --resize."
        )


def set_to_validate(manifests: Sequence[schema.Manifest], name: str) -> int | None:
    """Returns which of several data sets a run validates on.

    Args:
        manifests: The data sets.
        name: The split to validate on.

    Returns:
        Index of the first whose split holds blurred images; data sets for synthesized blur store
        the sharp image as both halves. None if there is none.
    """
    for index, manifest in enumerate(manifests):
        if name in manifest.splits and manifest.is_degraded:
            return index
    return None


def open_to_train(config: DataConfig) -> list[OpenSplit]:
    """Opens the split of each data set to train on; see `open_split`.

    Raises:
        ConfigError: There are no data sets, or the split is the test split.
        DataError: See `open_split` and `check_trainable`.
    """
    if not config.paths:
        raise ConfigError("data.paths: name a folder made by data_prep.build with --data FOLDER.")
    opened = [open_split(path, config.split) for path in config.paths]
    if not config.train_on_test:
        check_trainable(opened, config.split)
    return opened


def check_gammas(opened: Sequence[OpenSplit]) -> None:
    """Raises a DataError for both kinds of GoPro's blur, which scores do not carry over between.

    Args:
        opened: The data sets whose recorded blur is trained on.
    """
    gammas = {
        one.directory: one.manifest.blur["gamma"]
        for one in opened
        if one.manifest.source == "gopro" and "gamma" in one.manifest.blur
    }
    if len(set(gammas.values())) > 1:
        raise DataError(
            f"{' and '.join(gammas)} have different blur of GoPro, averaged as pixel values and in "
            "linear light (blur and blur_gamma). Train on one of them, or synthesize the blur of "
            "one (data.synthesize)."
        )


def check_trainable(opened: Sequence[OpenSplit], name: str) -> None:
    """Rejects training on test data.

    Args:
        opened: The data sets to train on.
        name: The split of each that is trained on.

    Raises:
        ConfigError: It is the test split.
        DataError: One of the data sets trains on test scenes of another one that was built from
            the same source.
    """
    remedy = "To allow it, give --data.train-on-test (train_on_test=True in Python)."
    if name == "test":
        raise ConfigError(
            "data.split: 'test' is the split for evaluation, which is meaningless after training "
            f"on it. Train on 'train', or build the data set with other splits. {remedy}"
        )
    for one in opened:
        for other in opened:
            test = other.manifest.splits.get("test")
            if test is None or _origin(one) is None or _origin(one) != _origin(other):
                continue
            shared = sorted(set(one.split.scenes) & set(test.scenes))
            if shared:
                raise DataError(
                    f"{one.directory} trains on scene {shared[0]!r}"
                    f"{f' and {len(shared) - 1} more' if len(shared) > 1 else ''}, of the test "
                    f"split of {other.directory}, which was built from the same source. Build both "
                    f"with the same test scenes. {remedy}"
                )


def _origin(opened: OpenSplit) -> tuple[object, ...] | None:
    """Returns the source of a data set and its folders, or None if it was built without files."""
    manifest = opened.manifest
    places = [manifest.options.get(name) for name in ("source", "blurred", "sharp")]
    return (manifest.source, *places) if any(places) else None


def check_positive(**values: int | None) -> None:
    """Raises a ConfigError that names the first value below 1; None is valid."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}.")


def reading_options() -> tf.data.Options:
    """Returns options that keep the order of samples exactly, on any number of hosts."""
    options = tf.data.Options()
    options.deterministic = True
    # Positions determine what each host reads; TensorFlow must not divide the files again.
    off = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = off
    return options


def digest_of(split: schema.Split | None) -> str | None:
    """Returns a digest of the records and their division into shards; None for no split."""
    if split is None:
        return None
    digest = hashlib.sha256(f"{split.height}x{split.width} {split.encoding}".encode())
    for shard in split.shards:
        digest.update(f" {shard.records} {shard.sha256}".encode())
    return digest.hexdigest()[:16]


def read_error_types() -> tuple[type[Exception], ...]:
    """Returns the errors that reading with TensorFlow may raise.

    Networks raise them too; `explain_read_error` distinguishes them.
    """
    if sys.modules.get("tensorflow") is None:  # it cannot have raised an error
        return ()
    # TensorFlow quotes bytes that are no record in its message, which Python cannot decode.
    return (tf.errors.OpError, UnicodeDecodeError)


def _is_damage(error: Exception) -> bool:
    """Returns whether damaged data may raise an error; a wrong shape in a network may as well."""
    kinds = (
        tf.errors.DataLossError,
        tf.errors.FailedPreconditionError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
        UnicodeDecodeError,
    )
    return isinstance(error, kinds)


def was_reading(error: Exception) -> TypeGuard[tf.errors.OpError]:
    """Returns whether an operation that waits for data raised a TensorFlow error."""
    return isinstance(error, tf.errors.OpError) and bool(_READING.search(error.message))


@contextlib.contextmanager
def read_errors(paths: Sequence[str], splits: str | Sequence[str] | None = None) -> Iterator[None]:
    """Replaces errors that data cause in the body by errors that name the file.

    Args:
        paths: Folders of the data sets that are read.
        splits: The split or splits that are read; all if None.

    Raises:
        DataError: See `explain_read_error`. Errors of other causes pass through unchanged.
    """
    try:
        yield
    except read_error_types() as error:
        explained = explain_read_error(error, paths, splits)
        if explained is None:
            raise
        raise explained from error


def explain_read_error(
    error: Exception, paths: Sequence[str], splits: str | Sequence[str] | None = None
) -> UserError | None:
    """Finds the damaged or unreadable file behind an error that was raised during reading.

    TensorFlow's errors about damaged records and images name no file. So all shards are checked
    again, sizes first, then record by record; for large data this takes as long as an epoch.

    Args:
        error: The error; data can only cause `read_error_types()`.
        paths: Folders of the data sets that were read.
        splits: The split or splits that were read; all if None.

    Returns:
        An error to raise from `error`, which names the shard and its first bad record or the
        reason why it could not be read; None if data did not cause the error.
    """
    if not isinstance(error, read_error_types()):
        return None
    if _is_damage(error):
        found = _find_damage(paths, (splits,) if isinstance(splits, str) else splits)
        # Intact records that cannot be parsed, or do not fit a shape, are an error of the program.
        if found or isinstance(error, (tf.errors.InvalidArgumentError, UnicodeDecodeError)):
            return found
    return _unreadable(error, paths) if was_reading(error) else None


def _find_damage(paths: Sequence[str], splits: Sequence[str] | None) -> UserError | None:
    for path in paths:
        try:
            manifest = schema.Manifest.load(path)
            schema.check_intact(path, manifest)
        except UserError as found:
            return found
        parts = [
            part
            for name, split in manifest.splits.items()
            if splits is None or name in splits
            for part in split.by_size()
        ]
        for part in parts:
            for shard in part.shards:
                file = files.join(path, shard.file)
                try:
                    damage = schema.find_damage(
                        file, part.height, part.width, part.encoding, tensorflow=True
                    )
                except UserError as error:
                    return error
                if damage:
                    return DataError(
                        f"{damage} Copy it again, or delete it and repeat the command that built "
                        f"{path}."
                    )
    return None


def _unreadable(error: tf.errors.OpError, paths: Sequence[str]) -> DataError:
    reason = reason_of(error.message) or type(error).__name__
    named = not paths or any(path in reason for path in paths)
    where = "" if named else f", in {', '.join(paths)}"
    remedy = (
        "Give the user of this process permission to read it."
        if isinstance(error, tf.errors.PermissionDeniedError | tf.errors.UnauthenticatedError)
        else "If the disk or network failed temporarily, run the same command again."
    )
    return DataError(f"The data could not be read ({reason}){where}. {remedy}")
