"""Files by path, on any file system that TensorFlow reads: local, ``gs://``, ``ram://``.

Paths are plain strings: `pathlib` turns ``ram://a`` into ``ram:/a``. Whatever is written goes to
a name beside its place first and is renamed when it is whole, so a reader never sees half a file
and a full disk costs the new file, not the old one.
"""

import contextlib
import errno
import json
import os
import posixpath
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfdeblur.errors import UserError

PARTIAL_SUFFIX = ".partial"


@contextlib.contextmanager
def _named_errors(path: str, doing: str) -> Iterator[None]:
    """Turns the file system's errors into one message that names the file."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise UserError(f"Cannot {doing} {path}: it does not exist.") from error
    except tf.errors.PermissionDeniedError as error:
        raise UserError(f"Cannot {doing} {path}: permission denied.") from error
    except (tf.errors.ResourceExhaustedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"Cannot {doing} {path}: {error.strerror or error}.") from error
        raise UserError(
            f"Cannot {doing} {path}: the disk is full. Free some space and run the same "
            "command again; what was finished before is kept."
        ) from error
    except tf.errors.OpError as error:
        raise UserError(f"Cannot {doing} {path}: {error.message}") from error


def join(path: str, *parts: str) -> str:
    """Joins path components with ``/``, leaving a ``scheme://`` prefix alone."""
    return posixpath.join(path, *parts)


def base_name(path: str) -> str:
    """Returns the last component of `path`; a closing slash does not count."""
    return posixpath.basename(path.rstrip("/"))


def parent(path: str) -> str:
    """Returns the folder that holds `path`."""
    return posixpath.dirname(path.rstrip("/"))


def exists(path: str) -> bool:
    """Tells whether a file or folder is there."""
    return bool(tf.io.gfile.exists(path))


def is_dir(path: str) -> bool:
    """Tells whether `path` is a folder."""
    return bool(tf.io.gfile.isdir(path))


def size(path: str) -> int:
    """Returns the size of a file in bytes."""
    with _named_errors(path, "look at"):
        return int(tf.io.gfile.stat(path).length)


def list_dir(path: str) -> list[str]:
    """Returns the names of what lies in a folder, sorted."""
    with _named_errors(path, "list"):
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(path))


def walk_files(path: str) -> list[str]:
    """Returns all files below a folder as paths relative to it, sorted.

    Links to other folders are followed, those to a folder above themselves are not.
    """
    found: list[str] = []
    with _named_errors(path, "list"):
        for folder, folders, names in tf.io.gfile.walk(path):
            folders[:] = [name for name in folders if not _leads_up(folder, name)]
            inside = folder[len(path) :].strip("/")
            found.extend(posixpath.join(inside, name) for name in names)
    return sorted(found)


def _leads_up(folder: str, name: str) -> bool:
    """Tells whether a folder is a link to one above it: it would be walked round and round."""
    path = join(folder, name)
    if "://" in path or not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    place = folder
    while True:
        # On the way that was walked, not on the disk: two links may lead to each other.
        if os.path.realpath(place) == target:
            return True
        above = os.path.dirname(place)
        if above == place:
            return False
        place = above


def make_dirs(path: str) -> None:
    """Makes a folder and those above it; one that is there already is no error."""
    with _named_errors(path, "make the folder"):
        tf.io.gfile.makedirs(path)


def remove(path: str) -> None:
    """Removes a file; one that is gone already is no error."""
    if exists(path):
        with _named_errors(path, "remove"):
            tf.io.gfile.remove(path)


def remove_tree(path: str) -> None:
    """Removes a folder with all in it; one that is gone already is no error."""
    # Object stores have no folders, only names with a common beginning, so asking whether a
    # folder exists says little about whether it can be removed.
    with _named_errors(path, "remove"), contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.rmtree(path)


def rename(source: str, target: str) -> None:
    """Renames a file or folder, replacing a file of the target's name."""
    with _named_errors(target, "write"):
        tf.io.gfile.rename(source, target, overwrite=True)


def read_bytes(path: str) -> bytes:
    """Reads a whole file."""
    with _named_errors(path, "read"), tf.io.gfile.GFile(path, "rb") as file:
        data: bytes = file.read()
    return data


def read_text(path: str) -> str:
    """Reads a whole UTF-8 file."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a UTF-8 text file: {error}.") from error


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file beside its place and renames it, so it is never seen half-written."""
    partial = path + PARTIAL_SUFFIX
    with _named_errors(path, "write"):
        with tf.io.gfile.GFile(partial, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(partial, path, overwrite=True)


def write_text(path: str, text: str) -> None:
    """Writes a whole UTF-8 file; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: The file is missing or is not JSON; the message names it and the line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}). It was cut off or "
            "edited by hand; make it again with the command that wrote it."
        ) from error


def write_json(path: str, value: Any) -> None:
    """Writes a value as indented JSON; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
