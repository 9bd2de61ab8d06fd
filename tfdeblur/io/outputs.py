"""Output folders that may also contain files of the user.

A command that writes several files to a folder records their names and SHA-256 digests in a list
in that folder. Only files on the list that have not changed since are replaced or removed.
"""

import hashlib
import json
from typing import Any

from tfdeblur.errors import UserError
from tfdeblur.io import files

LIST = ".tfdeblur-files.json"


class OutputFolder:
    """Writes files to a folder, and replaces or removes only files that it wrote.

    Args:
        path: The folder, with any scheme that TensorFlow supports. It need not exist.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._written = _read_list(files.join(path, LIST))

    @classmethod
    def reserve(cls, path: str, *names: str) -> "OutputFolder":
        """Creates a folder and checks, before any work, that files in it may be written.

        Args:
            path: The folder.
            *names: Names of files, and of folders that may contain only files of the command.

        Raises:
            UserError: A name is in use by another file, or the folder cannot be created.
        """
        files.make_dirs(path)
        folder = cls(path)
        for name in names:
            folder._check(name)
        return folder

    @staticmethod
    def is_one(path: str) -> bool:
        """Returns whether a folder contains a list of files."""
        return files.exists(files.join(path, LIST))

    def mark(self) -> None:
        """Writes the list, even if it is empty."""
        self._write_list()

    def owns(self, name: str) -> bool:
        """Returns whether a command wrote a file that has not changed since."""
        path = files.join(self.path, name)
        hashes = self._written.get(name, ())
        if not hashes or files.is_link(path) or not files.exists(path) or files.is_dir(path):
            return False
        return files.sha256_of(path) in hashes

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file, which may replace an earlier one of the command.

        Raises:
            UserError: The name is in use by another file, or the file cannot be written.
        """
        self._check(name)
        digest = hashlib.sha256(data).hexdigest()
        path = files.join(self.path, name)
        files.make_dirs(files.parent(path))
        # The list is written first, so that it includes the file even if the process is killed.
        self._written[name] = (*self._written.get(name, ())[-1:], digest)
        self._write_list()
        files.write_bytes(path, data)

    def write_text(self, name: str, text: str) -> None:
        """Writes a UTF-8 text file; see `write_bytes`."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON; see `write_bytes`."""
        self.write_text(name, files.json_text(value))

    def clear(self, folder: str = "") -> None:
        """Removes the files of the command below a folder, and folders that become empty.

        Args:
            folder: Path relative to the output folder; empty for the output folder itself.
        """
        inside = [name for name in self._written if not folder or name.startswith(f"{folder}/")]
        for name in inside:
            if self.owns(name):
                files.remove(files.join(self.path, name))
            del self._written[name]
        if not self._written:
            files.remove(files.join(self.path, LIST))
        elif inside:
            self._write_list()
        files.remove_empty_dirs(files.join(self.path, folder) if folder else self.path)

    def adopt(self) -> None:
        """Adds every file in the folder to the list, after the caller has written them."""
        self._written = {
            name: (files.sha256_of(files.join(self.path, name)),)
            for name in files.walk_files(self.path)
            if name != LIST
        }
        self._write_list()

    def _check(self, name: str) -> None:
        path = files.join(self.path, name)
        if files.is_dir(path) and not files.is_link(path):
            for inside in files.walk_files(path):
                self._check(f"{name}/{inside}")
        elif (files.is_link(path) or files.exists(path)) and not self.owns(name):
            raise UserError(
                f"{path} would be overwritten, but this command did not write it, or it has "
                "changed since. Move it, or choose another output folder."
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
        # Without a list no file is known to be the command's, so none is replaced.
        return {}
