"""Files by path, on any file system that TensorFlow reads: local, ``gs://``, ``ram://``.

Paths are plain strings: `pathlib` turns ``ram://a`` into ``ram:/a``. Whatever is written goes to
a name beside its place first and is renamed when it is whole, so a reader never sees half a file
and a full disk costs the new file, not the old one.

TensorFlow is imported when it is first needed. `open_new` and what is built on it need none for
local files, so that processes which make shards start without it.
"""

import contextlib
import errno
import io
import json
import os
import posixpath
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from tfdeblur.errors import UserError

PARTIAL_SUFFIX = ".partial"
_ONE_SLASH = re.compile(r"[a-z][a-z0-9]+:/(?!/)")
_LONGEST_NAME = 255  # bytes, on nearly every file system


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


@contextlib.contextmanager
def _named_errors(path: str, doing: str) -> Iterator[None]:
    """Turns the file system's errors into one message that names the file."""
    try:
        yield
    except OSError as error:
        raise _told(path, doing, _reason(error)) from error
    except Exception as error:
        reason = _tensorflow_reason(error)
        if reason is None:
            raise
        raise _told(path, doing, reason) from error


_FULL = "the disk is full"
_REASONS = {
    errno.ENOENT: "it does not exist",
    errno.EACCES: "permission denied",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
}


def _told(path: str, doing: str, reason: str) -> UserError:
    cure = ""
    if reason == _FULL:
        cure = " Free some space and run the same command again; what was finished before is kept."
    return UserError(f"Cannot {doing} {path}: {reason.rstrip('.')}.{cure}")


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _tensorflow_reason(error: Exception) -> str | None:
    """Returns what one of TensorFlow's errors says, and None for any other error."""
    # Where TensorFlow was never imported, it has raised nothing.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(error, tf.errors.OpError):
        return None
    for kind, reason in (
        (tf.errors.NotFoundError, _REASONS[errno.ENOENT]),
        (tf.errors.PermissionDeniedError, _REASONS[errno.EACCES]),
        (tf.errors.ResourceExhaustedError, _FULL),
    ):
        if isinstance(error, kind):
            return reason
    return str(error.message)


def is_local(path: str) -> bool:
    """Tells whether a path lies on this machine's own file system.

    Raises:
        UserError: It looks like ``gs:/bucket``, which would be a local folder called ``gs:``.
    """
    if _ONE_SLASH.match(path):
        scheme, _, rest = path.partition(":/")
        raise UserError(f"{path} has one slash too few: write {scheme}://{rest}")
    return "://" not in path


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
    """Tells whether a file or folder is there.

    Raises:
        UserError: It lies in a bucket that does not say.
    """
    if is_local(path):
        return os.path.exists(path)
    with _named_errors(path, "look at"):
        return bool(_gfile().exists(path))


def is_dir(path: str) -> bool:
    """Tells whether `path` is a folder."""
    if is_local(path):
        return os.path.isdir(path)
    return bool(_gfile().isdir(path))


def size(path: str) -> int:
    """Returns the size of a file in bytes."""
    with _named_errors(path, "look at"):
        return int(_gfile().stat(path).length)


def list_dir(path: str) -> list[str]:
    """Returns the names of what lies in a folder, sorted."""
    with _named_errors(path, "list"):
        return sorted(name.rstrip("/") for name in _gfile().listdir(path))


def walk_files(path: str) -> list[str]:
    """Returns all files below a folder as paths relative to it, sorted.

    Links to other folders are followed, those to a folder above themselves are not.
    """
    found: list[str] = []
    with _named_errors(path, "list"):
        for folder, folders, names in _walk(path):
            folders[:] = [name for name in folders if not _leads_up(folder, name)]
            inside = folder[len(path) :].strip("/")
            found.extend(posixpath.join(inside, name) for name in names)
    return sorted(found)


def _walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    # TensorFlow stops at a name that is not UTF-8; Python's own carries such bytes along.
    if is_local(path):
        return os.walk(path, onerror=_not_listed, followlinks=True)
    walk: Iterator[tuple[str, list[str], list[str]]] = _gfile().walk(path)
    return walk


def _not_listed(error: OSError) -> None:
    raise _told(str(error.filename), "list", _reason(error)) from error


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
    is_local(path)  # refuses what would become a folder called gs:
    with _named_errors(path, "make the folder"):
        _gfile().makedirs(path)


def remove(path: str) -> None:
    """Removes a file; one that is gone already is no error."""
    if exists(path):
        with _named_errors(path, "remove"):
            _gfile().remove(path)


def remove_tree(path: str) -> None:
    """Removes a folder with all in it; one that is gone already is no error."""
    # Object stores have no folders, only names with a common beginning, so asking whether a
    # folder exists says little about whether it can be removed.
    import tensorflow as tf

    with _named_errors(path, "remove"), contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.rmtree(path)


def remove_empty_dirs(path: str) -> None:
    """Removes a folder, and those below it, as far as they hold no files."""
    if not is_local(path):
        return  # Buckets have no folders of their own; ram:// loses them with their files.
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def rename(source: str, target: str) -> None:
    """Renames a file or folder, replacing a file of the target's name."""
    with _named_errors(target, "write"):
        _gfile().rename(source, target, overwrite=True)


def refuse_endless(path: str) -> None:
    """Refuses what is no file: a pipe would wait for ever, and a device never end.

    Raises:
        UserError: A local path is a folder, a pipe, a socket, a device, or a link to nothing.
    """
    if not is_local(path):
        return
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            raise UserError(f"{path} is a link to what does not exist.") from error
        return  # reading it says why
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no file but a pipe, a socket or a device"
        raise UserError(f"{path} is {kind}.")


def read_bytes(path: str) -> bytes:
    """Reads a whole file.

    Raises:
        UserError: It cannot be read, or is a device or a pipe, which may have no end.
    """
    if is_local(path):
        with _named_errors(path, "read"):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise OSError(errno.EINVAL, "it is a device or a pipe")
            with open(path, "rb") as file:
                return file.read()
    with _named_errors(path, "read"), _gfile().GFile(path, "rb") as file:
        data: bytes = file.read()
    return data


def read_text(path: str) -> str:
    """Reads a whole UTF-8 file."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a UTF-8 text file: {error}.") from error


# Bytes that may wait in memory for the disk, in one file.
_WRITE_BEHIND = 16 << 20


class _LocalFile(io.FileIO):
    """A new file whose pages go to the disk while more of it is made, and then leave memory.

    A build of many gigabytes would fill the memory with them, and getting fresh memory costs more
    time than writing.
    """

    _waiting = 0

    def write(self, data: Any) -> int:
        """Writes, and now and then starts to move to the disk what was written."""
        count = super().write(data)
        self._waiting += count
        if self._waiting >= _WRITE_BEHIND:
            self._waiting = 0
            self.let_go()
        return count

    def let_go(self) -> None:
        """Starts to write what is in memory alone, and frees what is on the disk."""
        # Not every system has this call.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def open_old(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading, piece by piece.

    Raises:
        UserError: The file cannot be read; an error of the file system in the block counts.
    """
    with (
        _named_errors(path, "read"),
        open(path, "rb") if is_local(path) else _gfile().GFile(path, "rb") as file,
    ):
        yield file


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """Yields a temporary name beside `path`, which is renamed to it if the block succeeds.

    If the block raises, the temporary file is removed and an existing file at `path` is kept. The
    name is unique, so that processes that write the same file do not mix their bytes; the last to
    finish wins. A link at `path` is followed.
    """
    if is_local(path) and os.path.islink(path):
        path = os.path.realpath(path)
    partial = f"{path}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}"
    if len(os.fsencode(base_name(partial))) > _LONGEST_NAME:
        partial = join(parent(path), f"{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    local = is_local(path)
    with _named_errors(path, "write"):
        try:
            yield partial
            if local:
                os.replace(partial, path)
            else:
                _gfile().rename(partial, path, overwrite=True)
        except BaseException:
            with contextlib.suppress(Exception):
                # The first error is the one to be told of.
                os.remove(partial) if local else _gfile().remove(partial)
            raise


@contextlib.contextmanager
def open_new(path: str, lasting: bool = False) -> Iterator[BinaryIO]:
    """Opens a file beside its place, for writing, and renames it when the block has ended well.

    Where the block raises, what was written is removed again, and what was there before is kept.

    Args:
        path: Where the file will lie.
        lasting: The file is on the disk before it gets its name, so that a power cut leaves a
            whole one too. Object stores do so by themselves.

    Raises:
        UserError: The file cannot be written; an error of the file system in the block counts.
    """
    with _beside(path) as partial:
        if not is_local(path):
            with _gfile().GFile(partial, "wb") as file:
                yield file
            return
        raw = _LocalFile(partial, "w")
        with io.BufferedWriter(raw) as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(raw.fileno())
                raw.let_go()


@contextlib.contextmanager
def open_name(path: str) -> Iterator[str]:
    """Gives a local name to write a file to, for libraries that open files themselves.

    What lies there when the block has ended well gets its place, as with `open_new`.

    Args:
        path: Where the file will lie.

    Raises:
        UserError: The file cannot be written; an error of the file system in the block counts.
    """
    if is_local(path):
        with _beside(path) as partial:
            yield partial
        return
    with tempfile.TemporaryDirectory(prefix="tfdeblur-") as folder:
        local = os.path.join(folder, base_name(path))
        with _named_errors(path, "write"):
            yield local
        with open(local, "rb") as made, open_new(path) as file:
            shutil.copyfileobj(made, file, _WRITE_BEHIND)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file beside its place and renames it, so it is never seen half-written."""
    with open_new(path) as file:
        file.write(data)


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
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns a value as the indented JSON that `write_json` writes."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
