"""File access by path: local, or any scheme that TensorFlow supports, ``gs://`` or ``ram://``.

Paths are plain strings, because `pathlib` turns ``ram://a`` into ``ram:/a``. Files are written to
a temporary name in the same folder and renamed when complete, so a reader never sees a partial
file, and a full disk does not destroy the previous version.

Local files are accessed through Python's standard library. TensorFlow is imported when a path with
a scheme is used for the first time.
"""

import contextlib
import errno
import fcntl
import hashlib
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
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from tfdeblur.errors import DataError, UserError

PARTIAL_SUFFIX = ".partial"
_PARTIAL = re.compile(rf"(.+)\.[0-9a-f]{{8}}{re.escape(PARTIAL_SUFFIX)}", re.DOTALL)
_ONE_SLASH = re.compile(r"[a-z][a-z0-9]+:/(?!/)")
_MAX_NAME_BYTES = 255  # on nearly every file system
_MAX_NAME = 59  # characters of up to four bytes before the rest of a temporary name


def _gfile() -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            "Paths such as gs://BUCKET/FOLDER need TensorFlow, which is not installed: use a local "
            'folder, or pip install "tfdeblur[cpu]".'
        ) from error
    return tf.io.gfile


@contextlib.contextmanager
def _open(path: str, mode: str) -> Iterator[Any]:
    with open(path, mode) if is_local(path) else _gfile().GFile(path, mode) as file:
        yield file


@contextlib.contextmanager
def _named_errors(path: str, action: str) -> Iterator[None]:
    """Converts file system errors in the block to a `UserError` that names the file."""
    try:
        yield
    except OSError as error:
        raise _user_error(path, action, _reason(error)) from error
    except Exception as error:
        reason = _tensorflow_reason(error)
        if reason is None:
            raise
        raise _user_error(path, action, reason) from error


_FULL = "the disk is full"
_REASONS = {
    errno.ENOENT: "it does not exist",
    errno.EACCES: "permission denied",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
}


def _user_error(path: str, action: str, reason: str) -> UserError:
    remedy = ""
    if reason == _FULL:
        remedy = " Free some space and run the same command again; completed work is kept."
    return UserError(f"Cannot {action} {path}: {reason.rstrip('.')}.{remedy}")


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _tensorflow_reason(error: Exception) -> str | None:
    """Returns the reason given by an error of TensorFlow, or None for any other error."""
    # TensorFlow cannot have raised the error if it was never imported.
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(error, tf.errors.OpError):
        return None
    for kind, reason in (
        (tf.errors.NotFoundError, _REASONS[errno.ENOENT]),
        (tf.errors.PermissionDeniedError, _REASONS[errno.EACCES]),
        (tf.errors.ResourceExhaustedError, _FULL),
    ):
        if isinstance(error, kind) and os.strerror(errno.EMFILE) not in error.message:
            return reason
    return str(error.message)


def is_local(path: str) -> bool:
    """Returns whether a path is on this machine's file system.

    Raises:
        UserError: The path looks like ``gs:/bucket``, which would be a local folder ``gs:``.
    """
    if _ONE_SLASH.match(path):
        scheme, _, rest = path.partition(":/")
        raise UserError(f"{path} is missing a slash: write {scheme}://{rest}")
    return "://" not in path


def join(path: str, *parts: str) -> str:
    """Joins path components with ``/``, keeping a ``scheme://`` prefix."""
    return posixpath.join(path, *parts)


def base_name(path: str) -> str:
    """Returns the last component of `path`, ignoring a trailing slash."""
    return posixpath.basename(path.rstrip("/"))


def own_name(path: str) -> str:
    """Returns the name of a file or folder, also of one that is given as ``.`` or ``..``."""
    return base_name(path if "://" in path else os.path.abspath(path))


def parent(path: str) -> str:
    """Returns the folder that contains `path`, ignoring a trailing slash."""
    return posixpath.dirname(path.rstrip("/"))


def is_hidden(path: str) -> bool:
    """Returns whether a relative path has a component whose name starts with a dot."""
    return any(part.startswith(".") for part in path.split("/"))


def exists(path: str) -> bool:
    """Returns whether a file or folder exists.

    Raises:
        UserError: The path is in a bucket that cannot be accessed.
    """
    if is_local(path):
        return os.path.exists(path)
    with _named_errors(path, "access"):
        return bool(_gfile().exists(path))


def is_link(path: str) -> bool:
    """Returns whether a path is a symbolic link, which only local file systems have."""
    return is_local(path) and os.path.islink(path)


def is_dir(path: str) -> bool:
    """Returns whether `path` is a folder."""
    if is_local(path):
        return os.path.isdir(path)
    return bool(_gfile().isdir(path))


def size(path: str) -> int:
    """Returns the size of a file in bytes."""
    with _named_errors(path, "access"):
        return os.stat(path).st_size if is_local(path) else int(_gfile().stat(path).length)


def _modified(path: str) -> float:
    """Returns when a file was written, in seconds since the epoch."""
    with _named_errors(path, "access"):
        return os.stat(path).st_mtime if is_local(path) else _gfile().stat(path).mtime_nsec / 1e9


def list_dir(path: str) -> list[str]:
    """Returns the sorted names of the files and folders in a folder."""
    with _named_errors(path, "list"):
        if is_local(path):
            return sorted(os.listdir(path))
        return sorted(name.rstrip("/") for name in _gfile().listdir(path))


def walk_files(path: str) -> list[str]:
    """Returns the sorted paths of all files below a folder, relative to it.

    Links to folders are followed, except links to one of their own parents.
    """
    found: list[str] = []
    with _named_errors(path, "list"):
        for folder, folders, names in _walk(path):
            folders[:] = [name for name in folders if not _links_to_parent(folder, name)]
            inside = folder[len(path) :].strip("/")
            found.extend(posixpath.join(inside, name) for name in names)
    return sorted(found)


def _walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    # TensorFlow fails on names that are not UTF-8; Python's own function supports them.
    if is_local(path):
        return os.walk(path, onerror=_raise_walk_error, followlinks=True)
    walk: Iterator[tuple[str, list[str], list[str]]] = _gfile().walk(path)
    return walk


def _raise_walk_error(error: OSError) -> None:
    raise _user_error(str(error.filename), "list", _reason(error)) from error


def _links_to_parent(folder: str, name: str) -> bool:
    """Returns whether a folder is a link to one of its parents, which would be walked forever."""
    path = join(folder, name)
    if not is_link(path):
        return False
    target = os.path.realpath(path)
    parent_folder = folder
    while True:
        # Parents by the path walked, not on the disk, because two links may point to each other.
        if os.path.realpath(parent_folder) == target:
            return True
        above = os.path.dirname(parent_folder)
        if above == parent_folder:
            return False
        parent_folder = above


def make_dirs(path: str) -> None:
    """Creates a folder and its parents, if they do not exist."""
    local = is_local(path)  # rejects gs:/bucket
    with _named_errors(path, "create the folder"):
        os.makedirs(path, exist_ok=True) if local else _gfile().makedirs(path)


def copy_tree(source: str, target: str) -> None:
    """Copies the files below a folder, except those whose copy has the same size and is not older.

    Args:
        source: An existing folder.
        target: The folder to copy to; created if it does not exist.
    """
    for name in walk_files(source):
        old, new = join(source, name), join(target, name)
        if exists(new) and size(new) == size(old) and _modified(new) >= _modified(old):
            continue
        make_dirs(parent(new))
        with open_read(old) as read, open_new(new) as written:
            shutil.copyfileobj(read, written, _WRITE_BEHIND)


def remove(path: str) -> None:
    """Removes a file, if it exists."""
    if exists(path):
        with _named_errors(path, "remove"):
            os.remove(path) if is_local(path) else _gfile().remove(path)


def remove_tree(path: str) -> None:
    """Removes a folder and its contents, if it exists."""
    with _named_errors(path, "remove"):
        if is_local(path):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
            return
        # Object stores have no folders, only names with a common prefix, so `exists` may return
        # False for a folder that can be removed.
        gfile = _gfile()
        with contextlib.suppress(sys.modules["tensorflow"].errors.NotFoundError):
            gfile.rmtree(path)


def remove_empty_dirs(path: str) -> None:
    """Removes the folders without files in a folder, including itself."""
    if not is_local(path):
        return  # Buckets have no folders; those of ram:// disappear with their files.
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def rename(source: str, target: str) -> None:
    """Renames a file or folder, replacing an existing target file."""
    with _named_errors(target, "write"):
        if is_local(source) and is_local(target):
            os.replace(source, target)
        else:
            _gfile().rename(source, target, overwrite=True)


def set_aside(path: str) -> str:
    """Renames a damaged file to `NAME.damaged`, or `NAME.damaged-2` and so on if that exists.

    Returns:
        The new path.
    """
    target, number = f"{path}.damaged", 1
    while exists(target):
        number += 1
        target = f"{path}.damaged-{number}"
    rename(path, target)
    return target


def require_regular_file(path: str) -> None:
    """Rejects local paths that are not regular files: pipes would block, devices may never end.

    A missing file is not an error here, because reading it raises one.

    Raises:
        UserError: The path is a folder, a pipe, a socket, a device or a broken link.
    """
    if not is_local(path):
        return
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            raise UserError(f"{path} is a link to a file that does not exist.") from error
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise UserError(f"{path} is {kind}, not a file.")


def read_bytes(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
        UserError: The file cannot be read, or is a device or a pipe, which may have no end.
    """
    with _named_errors(path, "read"):
        if is_local(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise OSError(errno.EINVAL, "it is a device or a pipe")
        with _open(path, "rb") as file:
            data: bytes = file.read()
    return data


def sha256_of(path: str) -> str:
    """Returns the SHA-256 of a file, read in parts."""
    digest = hashlib.sha256()
    with open_read(path) as file:
        while part := file.read(1 << 22):
            digest.update(part)
    return digest.hexdigest()


def read_text(path: str) -> str:
    """Returns the content of a UTF-8 text file without a byte-order mark; see `read_bytes`."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a UTF-8 text file: {error}.") from error


# Bytes of a file that may be in the page cache only.
_WRITE_BEHIND = 16 << 20


class _WriteThroughFile(io.FileIO):
    """A new file whose pages are flushed and dropped from the page cache while it is written.

    Builds of many gigabytes would otherwise fill the memory, and reclaiming memory takes longer
    than writing.
    """

    _unflushed = 0

    def write(self, data: Any) -> int:
        """Writes, and drops the page cache after every `_WRITE_BEHIND` bytes."""
        count = super().write(data)
        self._unflushed += count
        if self._unflushed >= _WRITE_BEHIND:
            self._unflushed = 0
            self.drop_cache()
        return count

    def drop_cache(self) -> None:
        """Starts to flush dirty pages, and frees clean ones, where the system supports it."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def open_read(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading in parts.

    Raises:
        UserError: The file cannot be read, including file system errors in the block.
    """
    with _named_errors(path, "read"), _open(path, "rb") as file:
        yield file


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """Yields a temporary name in the folder of `path`, renamed to `path` if the block succeeds.

    If the block raises, the temporary file is removed and an existing file at `path` is kept. The
    name is unique: if several processes write the same file, the last to finish wins. A link at
    `path` is followed. A local file is locked for as long as its process runs; see
    `remove_abandoned`.
    """
    if is_link(path):
        path = os.path.realpath(path)
    local = is_local(path)
    with (
        _named_errors(path, "write"),
        _locked_beside(path) if local else contextlib.nullcontext(_partial_name(path)) as partial,
    ):
        try:
            yield partial
            rename(partial, path)
        except BaseException:
            with contextlib.suppress(Exception):  # keeps the first error
                os.remove(partial) if local else _gfile().remove(partial)
            raise


def _partial_name(path: str) -> str:
    partial = f"{path}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}"
    if len(os.fsencode(base_name(partial))) > _MAX_NAME_BYTES:
        return _partial_name(join(parent(path), base_name(path)[-_MAX_NAME:]))
    return partial


@contextlib.contextmanager
def _locked_beside(path: str) -> Iterator[str]:
    """Creates a temporary file and locks it until the block ends."""
    while True:
        partial = _partial_name(path)
        with open(partial, "xb") as file:
            if lock(file, wait=True) and not os.path.exists(partial):
                continue  # `remove_abandoned` saw it before it was locked
            yield partial
            return


def lock(file: BinaryIO, wait: bool = False) -> bool:
    """Locks a file until it is closed or the process ends.

    Args:
        file: An open local file.
        wait: Whether to wait for another process that has locked it.

    Returns:
        Whether it is locked. False also if the disk has no such locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def remove_abandoned(folder: str, suffixes: Collection[str]) -> None:
    """Removes the temporary files that killed processes have left in a local folder.

    These are files with a name as `open_new` gives and without a lock. Buckets are left alone.

    Args:
        folder: The folder, not its subfolders; it need not exist.
        suffixes: Endings of the names of the files that were written, such as ``.png``.
    """
    if not is_local(folder) or not is_dir(folder or os.curdir):
        return
    for name in list_dir(folder or os.curdir):
        found = _PARTIAL.fullmatch(name)
        if found is None or not found[1].lower().endswith(tuple(suffixes)):
            continue
        path = join(folder, name)
        # Another user's file is left alone, and that of a process that has just finished is gone.
        with contextlib.suppress(OSError, UserError):
            if is_link(path):
                continue
            require_regular_file(path)
            with open(path, "r+b") as file:
                if lock(file):
                    os.remove(path)


@contextlib.contextmanager
def open_new(path: str, fsync: bool = False) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing, which is renamed to `path` if the block succeeds.

    If the block raises, the temporary file is removed and an existing file at `path` is kept.

    Args:
        path: Path of the file.
        fsync: Whether the file is flushed to the disk before it is renamed, so that it is intact
            after a power failure. Object stores always do that.

    Raises:
        UserError: The file cannot be written, including file system errors in the block.
    """
    with _beside(path) as partial:
        if not is_local(path):
            with _open(partial, "wb") as file:
                file.write(b"")  # creates it, even if nothing else is written
                yield file
            return
        raw = _WriteThroughFile(partial, "w")
        with io.BufferedWriter(raw) as file:
            yield file
            if fsync:
                file.flush()
                os.fsync(raw.fileno())
                raw.drop_cache()


@contextlib.contextmanager
def open_name(path: str) -> Iterator[str]:
    """Yields a local file name, for libraries that open files themselves.

    If the block succeeds, the file written there is moved to `path`, as with `open_new`.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file cannot be written, including file system errors in the block.
    """
    if is_local(path):
        with _beside(path) as partial:
            yield partial
        return
    with temporary_folder() as folder:
        local = os.path.join(folder, base_name(path))
        yield local
        with open(local, "rb") as written, open_new(path) as file:
            shutil.copyfileobj(written, file, _WRITE_BEHIND)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Yields a local folder, which is removed after the block.

    Raises:
        UserError: There is no such folder, or a file system error in the block; the message names
            the place of temporary files.
    """
    try:
        place = tempfile.gettempdir()
    except OSError:
        place = "a folder of temporary files"
    with (
        _named_errors(f"{place} (TMPDIR)", "write to"),
        tempfile.TemporaryDirectory(prefix="tfdeblur-") as folder,
    ):
        yield folder


def check_temporary_folder() -> None:
    """Raises a UserError if temporary files cannot be written; see `temporary_folder`."""
    with temporary_folder() as folder, open(join(folder, "probe"), "wb") as file:
        file.write(bytes(16 << 10))


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file atomically; see `open_new`."""
    with open_new(path) as file:
        file.write(data)


def append_bytes(path: str, data: bytes) -> None:
    """Appends to a file, which is created if it does not exist; not atomically.

    Raises:
        UserError: The file cannot be written.
    """
    with _named_errors(path, "write"), _open(path, "ab") as file:
        file.write(data)


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 text file; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: The file is not valid JSON; the message names the line.
        UserError: The file cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not valid JSON ({_json_reason(error)}). It was truncated or edited; "
            "create it again with the command that wrote it."
        ) from error


def _json_reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it holds a number of too many digits"


def write_json(path: str, value: Any) -> None:
    """Writes a value as indented JSON; see `write_bytes`."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns a value as indented JSON, as `write_json` writes it."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
