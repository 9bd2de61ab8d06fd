"""Checks that folders and buckets are writable; run as a program, it checks a remote one."""

import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from tfdeblur.diagnostics import platforms
from tfdeblur.diagnostics.finding import Finding
from tfdeblur.errors import UserError
from tfdeblur.io import files, subprocesses

# Bytes. A run of the largest recipe keeps three checkpoints of less than 1 GiB each.
RECOMMENDED_SPACE, MIN_SPACE = 5 << 30, 1 << 30

REMOTE_SECONDS = 120

# Parts of the error messages of TensorFlow's file systems without a network connection.
_NO_NETWORK = ("resolve host", "connect to server", "Timeout was reached", "Couldn't connect")


def is_remote(path: str) -> bool:
    """Returns whether a path is on a remote file system, such as ``gs://``."""
    return "://" in path


def folder(name: str, path: str) -> list[Finding]:
    """Checks that a folder is writable, or can be created; it is not created.

    Args:
        name: Name of the check.
        path: A local or remote folder.
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
        advice = "Choose another folder, or move the file."
        return [Finding(name, "wrong", f"{place} is a file", advice)]
    return [_permission(name, path, place), _space(path, place)]


def _permission(name: str, path: str, place: str) -> Finding:
    probe = os.path.join(place, f".tfdeblur-{uuid.uuid4().hex}")
    try:
        with open(probe, "wb") as file:
            file.write(b"tfdeblur")
        os.remove(probe)
    except OSError as error:
        advice = f"Choose another folder, or give this user write permission for {place}."
        text = f"{place} is not writable: {error.strerror or error}"
        return Finding(name, "wrong", text, advice)
    created = "" if os.path.abspath(path) == place else f"; {path} can be created in it"
    return Finding(name, "ok", f"{place} is writable{created}")


def _space(path: str, place: str) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for {path}"
    if free >= RECOMMENDED_SPACE:
        return Finding("disk space", "ok", text)
    advice = "Free some, or choose another folder; --output.keep 1 keeps fewer checkpoints."
    return Finding("disk space", "warning" if free >= MIN_SPACE else "wrong", text, advice)


def remote(name: str, path: str) -> Finding:
    """Writes, reads, renames and removes a small file, in a subprocess.

    Args:
        name: Name of the check.
        path: A bucket or a folder in one, such as ``gs://bucket/runs``.
    """
    reply = subprocesses.call(__name__, {"path": path}, seconds=REMOTE_SECONDS)
    if not reply.error:
        seconds = reply.values["seconds"]
        text = f"{path} is readable and writable; five operations took {seconds:.1f} s"
        return Finding(name, "ok", text)
    return Finding(name, "wrong", " ".join(reply.error.split()), _advice(path, reply))


def _advice(path: str, reply: subprocesses.Reply) -> str:
    scheme = path.split("://")[0]
    if reply.timed_out or any(part in reply.error for part in _NO_NETWORK):
        return "Check the network, and that the bucket exists (gcloud storage ls)."
    if reply.values.get("no_tensorflow"):
        return f"{platforms.adding_tensorflow()}, or use a local folder."
    if reply.values.get("unknown_scheme"):
        if scheme == "gs" and sys.version_info < (3, 13):
            return "pip install tensorflow-io-gcs-filesystem, which adds gs:// to TensorFlow."
        return (
            f"This build of TensorFlow does not support {scheme}://. Use a local folder, or mount "
            "the bucket."
        )
    return (
        "Run gcloud auth application-default login, or give the machine's service account the "
        "role Storage Object Admin on the bucket; check the bucket's name."
    )


def data(path: str) -> Finding:
    """Checks a data set by its manifest and reports its number of records.

    Args:
        path: Folder written by `data_prep.build`.
    """
    from tfdeblur.data import schema

    try:
        splits = schema.Manifest.load(path).splits
    except UserError as error:
        return Finding("data", "wrong", str(error))
    counts = ", ".join(f"{split.records:,} in {name}" for name, split in splits.items())
    return Finding("data", "ok", f"records in {path}: {counts}")


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    import time

    path = request["path"]
    scheme = path.split("://")[0]
    try:
        import tensorflow as tf
    except ModuleNotFoundError as missing:
        if missing.name != "tensorflow":
            raise
        error = f"{scheme}:// needs TensorFlow, which is not installed"
        return {subprocesses.ERROR: error, "no_tensorflow": True}
    if scheme not in tf.io.gfile.get_registered_schemes():
        error = f"TensorFlow {tf.__version__} cannot read {scheme}:// here"
        return {subprocesses.ERROR: error, "unknown_scheme": True}
    begin = time.monotonic()
    first, second = (files.join(path, f".tfdeblur-{uuid.uuid4().hex}") for _ in range(2))
    files.make_dirs(path)
    files.write_bytes(first, b"tfdeblur")
    files.rename(first, second)
    if files.read_bytes(second) != b"tfdeblur":
        raise UserError(f"{path} returned other bytes than were written.")
    files.remove(second)
    return {"seconds": time.monotonic() - begin}


if __name__ == "__main__":
    sys.exit(subprocesses.serve(_work, sys.argv))
