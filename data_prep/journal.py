"""The journal of a build: which shards are made. It lies in ``OUT/.build/`` until the end.

Whoever makes a shard enters it himself, so a build goes on from there however it was ended, and
whoever waits for shards made elsewhere learns of them here. Writing an entry needs no TensorFlow
where the folder is local.
"""

import dataclasses
import json
from collections.abc import Container, Mapping
from typing import Any

from tfdeblur.data.tfrecord import Shard
from tfdeblur.errors import DataError
from tfdeblur.io import files

FOLDER = ".build"
_HEAD = "build.json"
_MADE, _FAILED = ".made.json", ".failed.json"


def _path(directory: str, name: str) -> str:
    return files.join(directory, FOLDER, name)


def begin(directory: str, head: Mapping[str, Any], sound: Container[str]) -> None:
    """Opens the journal of a build; of an earlier run only the entries of sound shards stay.

    Args:
        directory: Folder of the data set.
        head: What tells this build from others; see `read_head`.
        sound: Names of the shards that need not be made again.
    """
    files.make_dirs(files.join(directory, FOLDER))
    for name in files.list_dir(files.join(directory, FOLDER)):
        if name != _HEAD and name.removesuffix(_MADE) not in sound:
            files.remove(_path(directory, name))
    files.write_json(_path(directory, _HEAD), dict(head))


def read_head(directory: str) -> dict[str, Any] | None:
    """Returns what `begin` was given, or None where no build was begun."""
    path = _path(directory, _HEAD)
    if not files.exists(path):
        return None
    head: dict[str, Any] = files.read_json(path)
    return head


def _enter(directory: str, name: str, content: Mapping[str, Any]) -> None:
    with files.open_new(_path(directory, name), lasting=True) as file:
        file.write(json.dumps(content).encode())


def enter(directory: str, shard: Shard) -> None:
    """Enters a shard that lies in its place."""
    _enter(directory, shard.file + _MADE, dataclasses.asdict(shard))


def enter_failure(directory: str, file: str, message: str) -> None:
    """Enters why a shard could not be made, for whoever waits for it elsewhere."""
    _enter(directory, file + _FAILED, {"message": message})


def made(directory: str, known: Mapping[str, Shard] | None = None) -> dict[str, Shard]:
    """Returns the shards that were entered, by file name.

    Args:
        directory: Folder of the data set.
        known: Entries that were read before and need not be read again.
    """
    found = dict(known or {})
    for name in files.list_dir(files.join(directory, FOLDER)):
        file = name.removesuffix(_MADE)
        if file != name and file not in found:
            found[file] = Shard(**files.read_json(_path(directory, name)))
    return found


def first_failure(directory: str) -> DataError | None:
    """Returns why the first of the shards that failed could not be made, and how many did."""
    names = [n for n in files.list_dir(files.join(directory, FOLDER)) if n.endswith(_FAILED)]
    if not names:
        return None
    message = files.read_json(_path(directory, names[0]))["message"]
    more = f" {len(names) - 1} more shards failed." if len(names) > 1 else ""
    return DataError(f"{message}{more}")


def close(directory: str) -> None:
    """Removes the journal."""
    files.remove_tree(files.join(directory, FOLDER))
