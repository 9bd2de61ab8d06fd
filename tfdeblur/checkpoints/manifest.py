"""The manifest of a checkpoint, ``meta.json``, which makes a folder a checkpoint.

It is written last, after all other files are on the disk. It holds their sizes and SHA-256, and a
SHA-256 of its own other entries. Content that does not match is damage. A file that cannot be read
is not: it may be intact, so the error names it and nothing is skipped.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from tfdeblur.errors import DataError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.presets import preset

FORMAT_VERSION = 2
META = "meta.json"
WEIGHTS = "generator.safetensors"
STATE = "state.safetensors"
CRITICS = "critics.safetensors"

# Format 1 held the weights in Keras's HDF5 format and the state as a `tf.train.Checkpoint`.
WEIGHTS_FORMAT_1 = "generator.weights.h5"
STATE_FORMAT_1 = "state"

_WEIGHTS_OF = {1: WEIGHTS_FORMAT_1, FORMAT_VERSION: WEIGHTS}
_CHECKSUM = "sha256"


class Damaged(DataError):
    """A checkpoint whose content is not what was written.

    Args:
        finding: A sentence that names the file.
        folder: The checkpoint.
    """

    def __init__(self, finding: str, folder: str) -> None:
        super().__init__(
            f"{finding} Remove {folder} and run the same command to use the checkpoint before it."
        )
        self.finding = finding
        self.folder = folder


@dataclasses.dataclass(frozen=True)
class _File:
    bytes: pydantic.NonNegativeInt
    sha256: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]


@dataclasses.dataclass(frozen=True)
class _Model:
    name: str


@dataclasses.dataclass(frozen=True)
class _Meta:
    """Schema of the file; the entries with defaults are not in every checkpoint."""

    format: int
    images: pydantic.NonNegativeInt
    model: _Model
    metrics: dict[str, pydantic.FiniteFloat]
    files: dict[Annotated[str, pydantic.Field(pattern=r"^[\w.-]+$")], _File]
    averaged: bool = False
    epoch_images: pydantic.PositiveInt | None = None
    data: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None


_SCHEMA = pydantic.TypeAdapter(_Meta)
_KNOWN = {field.name for field in dataclasses.fields(_Meta)} | {_CHECKSUM}


# ------------------------------------------------------------------------------------------- names


def checkpoint_name(images: int) -> str:
    """Returns the name of the folder of a checkpoint at a count of images."""
    return f"{images:012d}"


def image_count(name: str) -> int | None:
    """Returns the count in a name made by `checkpoint_name`, or None for any other name."""
    if re.fullmatch("[0-9]{12,}", name) is None or checkpoint_name(int(name)) != name:
        return None
    return int(name)


def weights_file(meta: Mapping[str, Any]) -> str:
    """Returns the name of the file that holds the generator's weights."""
    return preset.WEIGHTS if _is_of_preset(meta) else _WEIGHTS_OF[meta["format"]]


def description_file(meta: Mapping[str, Any]) -> str:
    """Returns the name of the file that holds the manifest."""
    return preset.FACTS if _is_of_preset(meta) else META


def path_exists(path: str) -> bool:
    """Returns whether a file or folder exists.

    Raises:
        UserError: That cannot be determined; an inaccessible path is not taken for a missing one.
    """
    try:
        if files.is_local(path):
            os.stat(path)
            return True
        return files.exists(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise UserError(
                f"{path} is a link to a path that does not exist: is its disk mounted?"
            ) from error
        return False
    except OSError as error:
        raise UserError(f"Cannot look at {path}: {error.strerror}.") from error


def is_checkpoint(folder: str) -> bool:
    """Returns whether a folder holds a manifest: that of a checkpoint, or of a preset."""
    return any(path_exists(files.join(folder, name)) for name in (META, preset.FACTS))


# ----------------------------------------------------------------------------------------- writing


def write_meta(folder: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest, which makes the folder a checkpoint; returns once it is on the disk.

    Args:
        folder: Holds all other files of the checkpoint.
        about: The entries, without `files` and the checksum.

    Returns:
        The manifest as read back.

    Raises:
        UserError: It cannot be written, or does not read back as written.
    """
    names = [name for name in files.list_dir(folder) if _is_content(name)]
    # After a power failure there must be no manifest of files that never reached the disk.
    for name in names:
        _sync(files.join(folder, name))
    _sync(folder)
    prints = {name: _fingerprint(files.join(folder, name)) for name in names}
    meta = sealed({**about, "files": prints})
    with files.open_new(files.join(folder, META), fsync=True) as file:
        file.write((json.dumps(meta, indent=1, allow_nan=False) + "\n").encode())
    _sync(folder)
    _sync(files.parent(folder) or ".")
    return read_meta(folder)


def _is_content(name: str) -> bool:
    return name != META and not name.endswith(files.PARTIAL_SUFFIX)


def sealed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a manifest with the checksum of all its other entries."""
    # In the form in which it is read back: tuples become lists, and keys text.
    plain: dict[str, Any] = json.loads(json.dumps(dict(about), allow_nan=False))
    plain.pop(_CHECKSUM, None)
    return {**plain, _CHECKSUM: _checksum(plain)}


def _checksum(meta: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != _CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: str) -> None:
    """Waits until a file, or the entries of a folder, are on the disk.

    Object stores need no such call.
    """
    if not files.is_local(path):
        return
    folder = os.path.isdir(path)
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # These mean that the file system has no fsync; a failing disk raises another number.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise UserError(f"Cannot put {path} on the disk: {error.strerror}.") from error


def _fingerprint(path: str) -> dict[str, Any]:
    data = files.read_bytes(path)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# ----------------------------------------------------------------------------------------- reading


def _is_of_preset(meta: Mapping[str, Any]) -> bool:
    return bool(meta["format"] == preset.MANIFEST_FORMAT)


def read_meta(folder: str) -> dict[str, Any]:
    """Reads the manifest of a checkpoint or preset.

    Raises:
        Damaged: It is damaged.
        DataError: It was written in a format that this version does not read.
        UserError: It cannot be read.
    """
    path = files.join(folder, META)
    if not path_exists(path):
        if preset.is_preset(folder):
            return preset.read(folder).manifest()
        raise Damaged(f"The checkpoint file {path} is missing.", folder)
    data = files.read_bytes(path)
    try:
        meta = _parse(data)
        if meta["format"] in _WEIGHTS_OF:
            _validate(meta, files.base_name(folder))
    except (ValueError, RecursionError) as error:
        reason = reason_of(error)
        raise Damaged(f"The checkpoint file {path} is damaged ({reason}).", folder) from error
    if meta["format"] not in _WEIGHTS_OF:
        known = " and ".join(str(number) for number in _WEIGHTS_OF)
        raise DataError(
            f"{folder} has checkpoint format {meta['format']}; this version reads {known}. Use "
            "the tfdeblur version that wrote it."
        )
    return meta


def _parse(data: bytes) -> dict[str, Any]:
    """Parses the manifest; a ValueError names the problem."""
    meta = json.loads(data.decode("utf-8"))
    if not isinstance(meta, dict):
        raise ValueError("it is not a manifest")
    if _CHECKSUM in meta and meta[_CHECKSUM] != _checksum(meta):
        raise ValueError("it does not match its own checksum")
    if type(meta.get("format")) is not int:
        raise ValueError("it names no format")
    unknown = sorted(set(meta) - _KNOWN)
    if unknown and _CHECKSUM not in meta and meta["format"] in _WEIGHTS_OF:
        # Early versions wrote no checksum, and only entries that are known here.
        raise ValueError(f"it has an entry {unknown[0]!r}")
    return meta


def _validate(meta: Mapping[str, Any], name: str) -> None:
    """Raises a ValueError that names the first invalid entry."""
    try:
        # Strict, so that text is not converted to numbers; JSON, where integers are floats too.
        _SCHEMA.validate_json(json.dumps(meta, allow_nan=False), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{key}: {first['msg']}") from error
    if weights_file(meta) not in meta["files"]:
        raise ValueError(f"files: {weights_file(meta)} is not listed")
    count = image_count(name)
    # Converted weights may have a folder of any name.
    if count not in (None, meta["images"]) and "origin" not in meta:
        raise ValueError(f"images: {meta['images']} is not the count in the folder's name")


def verify_checkpoint(folder: str) -> dict[str, Any]:
    """Compares every file with the manifest, which it returns.

    Raises:
        Damaged: A file is missing or altered; the message names it.
        DataError: The checkpoint has a format that this version does not read.
        UserError: A file cannot be read.
    """
    meta = read_meta(folder)
    if _is_of_preset(meta):
        return preset.verify(folder).manifest()
    for name, expected in meta["files"].items():
        path = files.join(folder, name)
        if not path_exists(path):
            raise Damaged(f"The checkpoint file {path} is missing.", folder)
        if _fingerprint(path) != expected:
            raise Damaged(f"The checkpoint file {path} is damaged.", folder)
    return meta
