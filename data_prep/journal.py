"""The journal of a build, ``OUT/.build/``: lists the finished shards until the build ends.

Each worker enters its own shards, so a build can resume however it ended, and the main process can
see shards made on other machines. Writing an entry to a local folder needs no TensorFlow.
"""

import dataclasses
import json
import re
from collections.abc import Container, Mapping
from typing import Any

from tfdeblur.data.tfrecord import Shard
from tfdeblur.errors import DataError
from tfdeblur.io import files

FOLDER = ".build"
_HEAD = "build.json"
_MADE, _FAILED = ".made.json", ".failed.json"
_WRITTEN = re.compile(r"(build|.+\.made|.+\.failed)\.json(\.[0-9a-f]+\.partial)?")


def _path(directory: str, name: str) -> str:
    return files.join(directory, FOLDER, name)


def begin(directory: str, head: Mapping[str, Any], intact: Container[str]) -> None:
    """Opens the journal; keeps only the entries of intact shards from an earlier run.

    Args:
        directory: Folder of the data set.
        head: Identifies the build; see `read_head`.
        intact: Names of the shards that need not be made again.
    """
    files.make_dirs(files.join(directory, FOLDER))
    for name in filter(_WRITTEN.fullmatch, files.list_dir(files.join(directory, FOLDER))):
        if name != _HEAD and name.removesuffix(_MADE) not in intact:
            files.remove(_path(directory, name))
    files.write_json(_path(directory, _HEAD), dict(head))


def read_head(directory: str) -> dict[str, Any] | None:
    """Returns the head passed to `begin`, or None if there is no journal."""
    path = _path(directory, _HEAD)
    if not files.exists(path):
        return None
    head: dict[str, Any] = files.read_json(path)
    return head


def _enter(directory: str, name: str, content: Mapping[str, Any]) -> None:
    with files.open_new(_path(directory, name), fsync=True) as file:
        file.write(json.dumps(content).encode())


def enter(directory: str, shard: Shard) -> None:
    """Enters a finished shard."""
    _enter(directory, shard.file + _MADE, dataclasses.asdict(shard))


def enter_failure(directory: str, file: str, message: str) -> None:
    """Enters why a shard could not be made, to be read by the main process."""
    _enter(directory, file + _FAILED, {"message": message})


def made(directory: str, known: Mapping[str, Shard] | None = None) -> dict[str, Shard]:
    """Returns the finished shards by file name.

    Args:
        directory: Folder of the data set.
        known: Entries that were already read.
    """
    found = dict(known or {})
    for name in files.list_dir(files.join(directory, FOLDER)):
        file = name.removesuffix(_MADE)
        if file != name and file not in found:
            found[file] = Shard(**files.read_json(_path(directory, name)))
    return found


def first_failure(directory: str) -> DataError | None:
    """Returns an error with the first failure and the number of others, or None."""
    names = [n for n in files.list_dir(files.join(directory, FOLDER)) if n.endswith(_FAILED)]
    if not names:
        return None
    message = files.read_json(_path(directory, names[0]))["message"]
    more = f" {len(names) - 1} more shards failed." if len(names) > 1 else ""
    return DataError(f"{message}{more}")


def close(directory: str) -> None:
    """Removes the journal; other files in its folder, whose name other programs use too, stay."""
    folder = files.join(directory, FOLDER)
    names = files.list_dir(folder) if files.exists(folder) else []
    if all(map(_WRITTEN.fullmatch, names)):
        files.remove_tree(folder)
        return
    for name in filter(_WRITTEN.fullmatch, names):
        files.remove(_path(directory, name))
