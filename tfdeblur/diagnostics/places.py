"""Folders and buckets: whether they can be written. As a program it tries a remote one."""

import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from tfdeblur.diagnostics.finding import Finding
from tfdeblur.errors import UserError
from tfdeblur.io import files, subprocesses

# A run of the largest recipe keeps three checkpoints of less than 1 GiB each.
ENOUGH, NEEDED = 5 << 30, 1 << 30

REMOTE_SECONDS = 120

# In what TensorFlow's file systems say where there is no way to a bucket.
_NO_NETWORK = ("resolve host", "connect to server", "Timeout was reached", "Couldn't connect")


def is_remote(path: str) -> bool:
    """Tells whether a path is on a file system of TensorFlow's, such as ``gs://``."""
    return "://" in path


def folder(name: str, path: str) -> list[Finding]:
    """Looks whether something could be kept in a folder, which is not made for that.

    Args:
        name: What the folder is for.
        path: Local or remote.
    """
    if is_remote(path):
        return [remote(name, path)]
    try:
        files.is_local(path)
    except UserError as error:
        return [Finding(name, "wrong", str(error))]
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        advice = "Choose another folder, or move the file away."
        return [Finding(name, "wrong", f"{place} is a file", advice)]
    return [_permission(name, path, place), _space(path, place)]


def _permission(name: str, path: str, place: str) -> Finding:
    probe = os.path.join(place, f".tfdeblur-{uuid.uuid4().hex}")
    try:
        with open(probe, "wb") as file:
            file.write(b"tfdeblur")
        os.remove(probe)
    except OSError as error:
        advice = f"Choose another folder, or let this user write into {place}."
        text = f"{place} cannot be written: {error.strerror or error}"
        return Finding(name, "wrong", text, advice)
    made = "" if os.path.abspath(path) == place else f"; {path} can be made there"
    return Finding(name, "ok", f"{place} can be written{made}")


def _space(path: str, place: str) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for {path}"
    if free >= ENOUGH:
        return Finding("disk space", "ok", text)
    advice = "Free some, or choose another folder; --output.keep 1 keeps fewer checkpoints."
    return Finding("disk space", "warning" if free >= NEEDED else "wrong", text, advice)


def remote(name: str, path: str) -> Finding:
    """Writes, reads, renames and removes a small file, in a program of its own.

    Args:
        name: What the path is for.
        path: A bucket or a folder in one, such as ``gs://bucket/runs``.
    """
    answer = subprocesses.ask(__name__, {"path": path}, seconds=REMOTE_SECONDS)
    if not answer.error:
        seconds = answer.values["seconds"]
        text = f"{path} can be written and read; five operations took {seconds:.1f} s"
        return Finding(name, "ok", text)
    return Finding(name, "wrong", " ".join(answer.error.split()), _advice(path, answer))


def _advice(path: str, answer: subprocesses.Answer) -> str:
    scheme = path.split("://")[0]
    if answer.timed_out or any(words in answer.error for words in _NO_NETWORK):
        return "Is there a network, and does the bucket exist (gcloud storage ls)?"
    if answer.values.get("unknown_scheme"):
        if scheme == "gs" and sys.version_info < (3, 13):
            return "pip install tensorflow-io-gcs-filesystem, which brings gs:// to TensorFlow."
        return f"This build of TensorFlow has no {scheme}://. Use a local folder, or mount it."
    return (
        "gcloud auth application-default login, or give the machine's service account the role "
        "Storage Object Admin on the bucket; and look whether the name is right."
    )


def data(path: str) -> Finding:
    """Says what a data set has; nothing but its manifest is read.

    Args:
        path: Folder made by `data_prep.build`.
    """
    from tfdeblur.data import schema

    try:
        splits = schema.Manifest.load(path).splits
    except UserError as error:
        return Finding("data", "wrong", str(error))
    counts = ", ".join(f"{split.records:,} in {name}" for name, split in splits.items())
    return Finding("data", "ok", f"{path} has records: {counts}")


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    import time

    import tensorflow as tf

    path = request["path"]
    scheme = path.split("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        error = f"TensorFlow {tf.__version__} cannot read {scheme}:// here"
        return {subprocesses.ERROR: error, "unknown_scheme": True}
    begin = time.monotonic()
    first, second = (files.join(path, f".tfdeblur-{uuid.uuid4().hex}") for _ in range(2))
    files.make_dirs(path)
    files.write_bytes(first, b"tfdeblur")
    files.rename(first, second)
    if files.read_bytes(second) != b"tfdeblur":
        raise UserError(f"{path} gives back other bytes than were written.")
    files.remove(second)
    return {"seconds": time.monotonic() - begin}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
