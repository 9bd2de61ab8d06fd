"""What a checkpoint says of itself: ``meta.json``, which makes a folder a checkpoint.

It is written last, after all other files are on the disk, and carries their sizes and SHA-256 and
a SHA-256 of the rest of itself. Content that does not agree is damage. A file that cannot be read
is none: it may be whole, and is an error that names it.
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

from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

FORMAT_VERSION = 1
META = "meta.json"
WEIGHTS = "generator.weights.h5"

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
    """What must stand in the file; some entries came later or are not in every checkpoint."""

    format: int
    images: pydantic.NonNegativeInt
    model: _Model
    metrics: dict[str, pydantic.FiniteFloat]
    files: dict[Annotated[str, pydantic.Field(pattern=r"^[\w.-]+$")], _File]
    averaged: bool = False
    epoch_images: pydantic.PositiveInt | None = None
    data: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None


_CHECK = pydantic.TypeAdapter(_Meta)
_KNOWN = {field.name for field in dataclasses.fields(_Meta)} | {_CHECKSUM}


# ------------------------------------------------------------------------------- names and places


def name_of(images: int) -> str:
    """Returns the name of the folder of a checkpoint at a count of images."""
    return f"{images:012d}"


def count_of(name: str) -> int | None:
    """Returns the count of images in a name that `name_of` made, and None for any other name."""
    if re.fullmatch("[0-9]{12,}", name) is None or name_of(int(name)) != name:
        return None
    return int(name)


def is_there(path: str) -> bool:
    """Tells whether a file or folder exists.

    Raises:
        UserError: That cannot be seen: what cannot be looked at is not taken for absent.
    """
    try:
        if files.is_local(path):
            os.stat(path)
            return True
        return files.exists(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise UserError(
                f"{path} is a link to what does not exist: is the disk there that it leads to?"
            ) from error
        return False
    except OSError as error:
        raise UserError(f"Cannot look at {path}: {error.strerror}.") from error


def is_checkpoint(folder: str) -> bool:
    """Tells whether a folder holds the file that makes it a checkpoint."""
    return is_there(files.join(folder, META))


# ----------------------------------------------------------------------------------------- writing


def write_meta(folder: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a folder a checkpoint, and has it on the disk when this returns.

    Args:
        folder: Holds all other files of the checkpoint.
        about: What to say of it, but for `files` and the checksum.

    Returns:
        What was written, read back.

    Raises:
        UserError: It cannot be written, or does not read back as it was written.
    """
    names = [name for name in files.list_dir(folder) if _is_content(name)]
    # A power cut must not leave the description of files that never reached the disk.
    for name in names:
        _to_disk(files.join(folder, name))
    _to_disk(folder)
    prints = {name: _fingerprint(files.join(folder, name)) for name in names}
    meta = sealed({**about, "files": prints})
    with files.open_new(files.join(folder, META), lasting=True) as file:
        file.write((json.dumps(meta, indent=1, allow_nan=False) + "\n").encode())
    _to_disk(folder)
    _to_disk(files.parent(folder) or ".")
    return read_meta(folder)


def _is_content(name: str) -> bool:
    return name != META and not name.endswith(files.PARTIAL_SUFFIX)


def sealed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a description with the checksum of all its other entries."""
    # As it will be read: tuples are lists then, and keys are text.
    plain: dict[str, Any] = json.loads(json.dumps(dict(about), allow_nan=False))
    plain.pop(_CHECKSUM, None)
    return {**plain, _CHECKSUM: _checksum(plain)}


def _checksum(meta: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != _CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_disk(path: str) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Object stores see to that themselves.
    """
    if not files.is_local(path):
        return
    folder = os.path.isdir(path)
    if folder and os.name == "nt":
        return  # Windows opens no folders.
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some file systems know no such wish; that the disk failed is another number.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise UserError(f"Cannot put {path} on the disk: {error.strerror}.") from error


def _fingerprint(path: str) -> dict[str, Any]:
    data = files.read_bytes(path)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# ----------------------------------------------------------------------------------------- reading


def read_meta(folder: str) -> dict[str, Any]:
    """Reads what a checkpoint says of itself.

    Raises:
        Damaged: It is damaged.
        DataError: It was written by another version of the format.
        UserError: It cannot be read.
    """
    path = files.join(folder, META)
    if not is_there(path):
        raise Damaged(f"The checkpoint file {path} is missing.", folder)
    data = files.read_bytes(path)
    try:
        meta = _parsed(data)
        if meta["format"] == FORMAT_VERSION:
            _check(meta, files.base_name(folder))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise Damaged(f"The checkpoint file {path} is damaged ({reason}).", folder) from error
    if meta["format"] != FORMAT_VERSION:
        raise DataError(
            f"{folder} has checkpoint format {meta['format']}; this version reads "
            f"{FORMAT_VERSION}. Use the tfdeblur version that wrote it."
        )
    return meta


def _parsed(data: bytes) -> dict[str, Any]:
    """Reads the description; a ValueError says what is wrong with it."""
    meta = json.loads(data.decode("utf-8"))
    if not isinstance(meta, dict):
        raise ValueError("it holds no description of a checkpoint")
    if _CHECKSUM in meta and meta[_CHECKSUM] != _checksum(meta):
        raise ValueError("it does not agree with its own checksum")
    if type(meta.get("format")) is not int:
        raise ValueError("it names no format")
    strange = sorted(set(meta) - _KNOWN)
    if strange and _CHECKSUM not in meta and meta["format"] == FORMAT_VERSION:
        # Early versions wrote no checksum, and no entry that is not known here.
        raise ValueError(f"it has an entry {strange[0]!r}")
    return meta


def _check(meta: Mapping[str, Any], name: str) -> None:
    """Raises a ValueError that says what in a description cannot be."""
    try:
        # Strict, so that no text counts as a number; JSON, in which whole numbers are floats too.
        _CHECK.validate_json(json.dumps(meta, allow_nan=False), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error
    if WEIGHTS not in meta["files"]:
        raise ValueError(f"files: {WEIGHTS} is not among them")
    count = count_of(name)
    # Whoever converts weights may call the folder what he likes.
    if count not in (None, meta["images"]) and "origin" not in meta:
        raise ValueError(f"images: {meta['images']} is not what the folder is named by")


def verify_checkpoint(folder: str) -> dict[str, Any]:
    """Compares every file with what ``meta.json`` says; returns its content.

    Raises:
        Damaged: A file is missing or altered; the message names it.
        DataError: It was written by another version of the format.
        UserError: A file cannot be read.
    """
    meta = read_meta(folder)
    for name, expected in meta["files"].items():
        path = files.join(folder, name)
        if not is_there(path):
            raise Damaged(f"The checkpoint file {path} is missing.", folder)
        if _fingerprint(path) != expected:
            raise Damaged(f"The checkpoint file {path} is damaged.", folder)
    return meta
