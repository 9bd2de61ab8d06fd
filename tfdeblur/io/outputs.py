"""Output folders that may also hold other people's files.

A command that writes several files into a folder keeps their names and SHA-256 in a list beside
them. Only files on that list that have not changed since are ever replaced or removed.
"""

import hashlib
import json
import os
from typing import Any

from tfdeblur.errors import UserError
from tfdeblur.io import files

LIST = ".tfdeblur-files.json"


class OutputFolder:
    """Writes files into a folder and replaces or removes only files that were written by it.

    Args:
        path: The folder; any scheme TensorFlow writes. It need not exist.

    Attributes:
        path: As given.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._written = _read_list(files.join(path, LIST))

    @classmethod
    def reserve(cls, path: str, *names: str) -> "OutputFolder":
        """Creates the folder and checks, before any work, that some names in it may be written.

        Args:
            path: The folder.
            *names: Files, and folders in which every file must be the command's own.

        Raises:
            UserError: A name is taken by something else, or the folder cannot be created.
        """
        files.make_dirs(path)
        folder = cls(path)
        for name in names:
            folder._check(name)
        return folder

    def owns(self, name: str) -> bool:
        """Returns whether a file was written by a command and has not changed since."""
        path = files.join(self.path, name)
        hashes = self._written.get(name, ())
        if not hashes or _is_link(path) or not files.exists(path) or files.is_dir(path):
            return False
        return hashlib.sha256(files.read_bytes(path)).hexdigest() in hashes

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file that is new or the command's own.

        Raises:
            UserError: The name is taken by something else, or the file cannot be written.
        """
        self._check(name)
        digest = hashlib.sha256(data).hexdigest()
        path = files.join(self.path, name)
        files.make_dirs(files.parent(path))
        # The list first: a file that a killed process has written is then known.
        self._written[name] = (*self._written.get(name, ())[-1:], digest)
        self._write_list()
        files.write_bytes(path, data)

    def write_text(self, name: str, text: str) -> None:
        """Writes a UTF-8 file; see `write_bytes`."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON; see `write_bytes`."""
        self.write_text(name, files.json_text(value))

    def clear(self, folder: str = "") -> None:
        """Removes the command's own files below a folder, then folders that are left empty.

        Args:
            folder: Relative to the output folder, which is cleared whole if this is empty.
        """
        inside = [name for name in self._written if not folder or name.startswith(f"{folder}/")]
        for name in inside:
            if self.owns(name):
                files.remove(files.join(self.path, name))
            del self._written[name]
        if inside and self._written:
            self._write_list()
        elif inside:
            files.remove(files.join(self.path, LIST))
        files.remove_empty_dirs(files.join(self.path, folder) if folder else self.path)

    def adopt(self) -> None:
        """Puts every file in the folder on the list: it was just made by the caller."""
        self._written = {
            name: (hashlib.sha256(files.read_bytes(files.join(self.path, name))).hexdigest(),)
            for name in files.walk_files(self.path)
            if name != LIST
        }
        self._write_list()

    def _check(self, name: str) -> None:
        path = files.join(self.path, name)
        if files.is_dir(path) and not _is_link(path):
            for inside in files.walk_files(path):
                self._check(f"{name}/{inside}")
        elif (_is_link(path) or files.exists(path)) and not self.owns(name):
            raise UserError(
                f"{path} would be overwritten, but it was not written by this command or has "
                "changed since. Move it away, or choose another output folder."
            )

    def _write_list(self) -> None:
        hashes = {name: list(found) for name, found in sorted(self._written.items())}
        files.write_json(files.join(self.path, LIST), {"files": hashes})


def _read_list(path: str) -> dict[str, tuple[str, ...]]:
    if not files.exists(path):
        return {}
    try:
        found = json.loads(files.read_bytes(path))["files"]
        return {str(name): tuple(map(str, hashes)) for name, hashes in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Without a list nothing can be proven, so nothing is replaced.
        return {}


def _is_link(path: str) -> bool:
    return files.is_local(path) and os.path.islink(path)
