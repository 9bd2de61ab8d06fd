"""Opening a data set: everything about it that can be checked before reading is checked here."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeGuard

import tensorflow as tf

from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.registry import did_you_mean

# What may be raised while data are read. A loop catches these and asks `explain_read_error` whether
# the data are at fault, for what goes wrong in a network is one of them as well.
READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)

# Those that damaged data raise, and a wrong shape in a network too.
_DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    # TensorFlow puts bytes that are no record into its message, and Python cannot read that.
    UnicodeDecodeError,
)

# The operations that read, where they are the ones that failed.
_READING = re.compile(
    r"(\{\{node [^}]*|\[Op:)(\w*IteratorGetNext\w*|DatasetToSingleElement)(\}\}|\])"
)

_NO_RIGHT = (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError)


@dataclasses.dataclass(frozen=True)
class OpenSplit:
    """One split of a data set whose manifest and files agree.

    Attributes:
        directory: Folder of the data set.
        manifest: Its manifest.
        split: The split's part of the manifest.
    """

    directory: str
    manifest: schema.Manifest
    split: schema.Split

    @property
    def shards(self) -> list[schema.Shard]:
        """The shards that hold any records, in file order."""
        return [shard for shard in self.split.shards if shard.records]

    @property
    def paths(self) -> list[str]:
        """The paths of `shards`."""
        return [files.join(self.directory, shard.file) for shard in self.shards]

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Says which images there are, as plain values for JSON; copies are equal.

        Args:
            validation_split: Another split that is described as well, where there is one.
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
        """Whether the files lie behind a network, where each request takes its time."""
        scheme, separator, _ = self.directory.partition("://")
        return bool(separator) and scheme not in ("file", "ram")

    @property
    def buffer_bytes(self) -> int | None:
        """How much of a shard to read at once; None is TensorFlow's own choice."""
        if self.remote:
            return 4 << 20
        # Large records fill a request by themselves, and a buffer would only copy them once more.
        return 0 if self.record_bytes >= 1 << 16 else None


def open_split(path: str, name: str) -> OpenSplit:
    """Opens one split of the data set in a folder.

    The manifest is read, and existence and size of every shard are compared with it: that finds
    shards that are missing, cut off (at the end of a record too) or left over from another build.

    Args:
        path: Folder of the data set.
        name: Name of the split, such as `train`.

    Raises:
        DataError: There is no such data set or split, it is empty, or its files do not agree with
            the manifest.
    """
    manifest = schema.Manifest.load(path)
    if name not in manifest.splits:
        raise DataError(
            f"{path} has no split {name!r}.{did_you_mean(name, manifest.splits)} "
            f"{' '.join(manifest.notes)}".rstrip()
        )
    opened = OpenSplit(path, manifest, manifest.splits[name])
    if not opened.split.records:
        raise DataError(f"The split {name!r} of {path} holds no records.")
    schema.check_intact(path, manifest)
    return opened


def open_to_train(paths: Sequence[str], name: str, train_on_test: bool = False) -> list[OpenSplit]:
    """Opens one split of several data sets for training; see `open_split`.

    Args:
        paths: Folders of the data sets.
        name: Name of the split.
        train_on_test: Allow what `check_trainable` refuses.

    Raises:
        ConfigError: There are no paths, or the split is the test split.
        DataError: What `open_split` and `check_trainable` raise.
    """
    if not paths:
        raise ConfigError("No data set to train on: name at least one folder.")
    opened = [open_split(path, name) for path in paths]
    if not train_on_test:
        check_trainable(opened, name)
    return opened


def check_trainable(opened: Sequence[OpenSplit], name: str) -> None:
    """Refuses to train on what is there to be judged by.

    Args:
        opened: The data sets that are to be trained on.
        name: The split that is read of each.

    Raises:
        ConfigError: It is the test split.
        DataError: Scenes that one of the data sets trains on are test scenes of another one that
            was built from the same place.
    """
    cure = "Where that is meant, give --data.train-on-test (train_on_test=True in Python)."
    if name == "test":
        raise ConfigError(
            "data.split: 'test' is what networks are judged by, and says nothing of one that has "
            f"trained on it. Train on 'train', or build the data set with other splits. {cure}"
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
                    f"split of {other.directory}, which was built from the same place. Build both "
                    f"with the same test scenes. {cure}"
                )


def _origin(opened: OpenSplit) -> tuple[object, ...] | None:
    """Returns the source of a data set and its folders; None where it was built without files."""
    manifest = opened.manifest
    places = [manifest.options.get(name) for name in ("source", "blurred", "sharp")]
    return (manifest.source, *places) if any(places) else None


def check_positive(**values: int | None) -> None:
    """Raises a ConfigError that names the first value that is given and is below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}.")


def digest_of(split: schema.Split | None) -> str | None:
    """Returns what equal records in equal shards have in common; None for no split."""
    if split is None:
        return None
    digest = hashlib.sha256(f"{split.height}x{split.width} {split.encoding}".encode())
    for shard in split.shards:
        digest.update(f" {shard.records} {shard.sha256}".encode())
    return digest.hexdigest()[:16]


def was_reading(error: Exception) -> TypeGuard[tf.errors.OpError]:
    """Tells whether an error of TensorFlow was raised by the operation that waits for data."""
    return isinstance(error, tf.errors.OpError) and bool(_READING.search(error.message))


def explain_read_error(
    error: Exception, paths: Sequence[str], split: str | Sequence[str] | None = None
) -> UserError | None:
    """Finds what is wrong with data behind an error that was raised while they were read.

    TensorFlow's errors about damaged records and pictures name no file. So all shards are looked
    at again, sizes first, then record by record; for large data that takes as long as an epoch.

    Args:
        error: What was raised; only `READ_ERRORS` can be the fault of data.
        paths: Folders of the data sets that were being read.
        split: The split that was being read, or several; all splits where not given.

    Returns:
        An error that names the shard and its first bad record, or says why it could not be read,
        to be raised from `error`; None when the error must come from somewhere else.
    """
    if not isinstance(error, READ_ERRORS):
        return None
    if isinstance(error, _DAMAGE):
        wanted = (split,) if isinstance(split, str) else split
        found = _find_damage(paths, wanted)
        # Sound records that cannot be parsed, or fit no shape, are a fault of the program's.
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
        for name, part in manifest.splits.items():
            if splits is not None and name not in splits:
                continue
            for shard in part.shards:
                file = files.join(path, shard.file)
                try:
                    damage = schema.find_damage(file, part.height, part.width, part.encoding)
                except tf.errors.OpError as error:
                    return _unreadable(error, [file])
                if damage:
                    return DataError(
                        f"{damage} Copy it again, or delete it and repeat the command that built "
                        f"{path}."
                    )
    return None


def _unreadable(error: tf.errors.OpError, places: Sequence[str]) -> DataError:
    reason = reason_of(error.message) or type(error).__name__
    where = "" if any(place in reason for place in places) else f", in {', '.join(places)}"
    cure = (
        "Give the user of this process the right to read it."
        if isinstance(error, _NO_RIGHT)
        else "Where a disk or a network failed for a moment, the same command is enough."
    )
    return DataError(f"The data could not be read ({reason}){where}. {cure}")
