"""Folders and buckets: whether they can be written. As a program it tries a remote one."""

import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from tfdeblur import programs
from tfdeblur.checkup.finding import Finding

# A run of the largest recipe keeps three checkpoints of less than 1 GiB each.
ENOUGH, NEEDED = 5 << 30, 1 << 30

REMOTE_SECONDS = 120


def is_remote(path: str) -> bool:
    """Tells whether a path is on a file system of TensorFlow's, such as ``gs://``."""
    return "://" in path


def workdir(path: str) -> list[Finding]:
    """Looks whether a run could be kept in a folder, which is not made for that.

    Args:
        path: Local or remote.
    """
    if is_remote(path):
        return [remote("work directory", path)]
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        advice = "Choose another --workdir, or move the file away."
        return [Finding("work directory", "wrong", f"{place} is a file", advice)]
    return [_permission(path, place), _space(path, place)]


def _permission(path: str, place: str) -> Finding:
    probe = os.path.join(place, f".tfdeblur-{uuid.uuid4().hex}")
    try:
        with open(probe, "wb") as file:
            file.write(b"tfdeblur")
        os.remove(probe)
    except OSError as error:
        advice = f"Choose another --workdir, or let this user write into {place}."
        text = f"{place} cannot be written: {error.strerror or error}"
        return Finding("work directory", "wrong", text, advice)
    made = "" if os.path.abspath(path) == place else f"; {path} can be made there"
    return Finding("work directory", "ok", f"{place} can be written{made}")


def _space(path: str, place: str) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for {path}"
    if free >= ENOUGH:
        return Finding("disk space", "ok", text)
    advice = "Free some, or choose another --workdir; --output.keep 1 keeps fewer checkpoints."
    return Finding("disk space", "warning" if free >= NEEDED else "wrong", text, advice)


def remote(name: str, path: str) -> Finding:
    """Writes, reads, renames and removes a small file, in a program of its own.

    Args:
        name: What the path is for.
        path: A bucket or a folder in one, such as ``gs://bucket/runs``.
    """
    answer = programs.ask(__name__, {"path": path}, seconds=REMOTE_SECONDS)
    if not answer.error:
        seconds = answer.values["seconds"]
        text = f"{path} can be written and read; five operations took {seconds:.1f} s"
        return Finding(name, "ok", text)
    return Finding(name, "wrong", answer.error, _advice(path, answer))


def _advice(path: str, answer: programs.Answer) -> str:
    scheme = path.split("://")[0]
    if answer.timed_out:
        return "Is there a network, and does the bucket exist (gcloud storage ls)?"
    if answer.values.get("unknown_scheme"):
        if scheme == "gs" and sys.version_info < (3, 13):
            return "pip install tensorflow-io-gcs-filesystem, which brings gs:// to TensorFlow."
        return f"This build of TensorFlow has no {scheme}://. Use a local folder, or mount it."
    return (
        "gcloud auth application-default login, or give the machine's service account the role "
        "Storage Object Admin on the bucket; and look whether the name is right."
    )


def _work(request: Mapping[str, Any]) -> dict[str, Any]:
    import time

    import tensorflow as tf

    from tfdeblur import files
    from tfdeblur.errors import UserError

    path = request["path"]
    scheme = path.split("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        error = f"TensorFlow {tf.__version__} cannot read {scheme}:// here"
        return {programs.ERROR: error, "unknown_scheme": True}
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
    sys.exit(programs.serve(_work, sys.argv))
