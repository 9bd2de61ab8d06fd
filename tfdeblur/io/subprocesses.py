"""Runs a function in a subprocess, with JSON files for request and reply, and a timeout."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

REQUEST, REPLY = "request.json", "reply.json"
ERROR = "error"
PARENT = "parent"

# How often the subprocess checks that its parent is alive.
_POLL_SECONDS = 1.0

# Last lines of a crashed subprocess's stderr in the error message.
_STDERR_LINES = 3


@dataclasses.dataclass(frozen=True)
class Reply:
    """Reply of a subprocess, or the reason why there is none.

    Attributes:
        values: The reply; empty if there is none.
        error: One sentence; empty on success.
        timed_out: Whether the timeout is the reason.
    """

    values: Mapping[str, Any]
    error: str = ""
    timed_out: bool = False


def call(
    module: str,
    request: Mapping[str, Any],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> Reply:
    """Runs a module in a subprocess and waits for its reply.

    Args:
        module: Name of the module, which calls `serve` when run.
        request: JSON values for it.
        seconds: Timeout, after which it is killed.
        environment: Environment variables in addition to those of this process.
        command: Command to run instead of this Python with the module; for tests.

    Returns:
        The reply. A crash of any kind is a reply with an error.
    """
    with tempfile.TemporaryDirectory(prefix="tfdeblur-") as folder:
        with open(os.path.join(folder, REQUEST), "w", encoding="utf-8") as file:
            json.dump({**request, PARENT: os.getpid()}, file)
        process = subprocess.Popen(
            [*(command or (sys.executable, "-m", module)), folder],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A process group of its own, which is killed with all its children.
            start_new_session=True,
        )
        try:
            _, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            return Reply({}, f"timed out after {seconds:,.0f} s", timed_out=True)
        except BaseException:
            _kill(process)
            raise
        path = os.path.join(folder, REPLY)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
            return Reply(values, str(values.get(ERROR, "")))
    return Reply({}, _describe_crash(process.returncode, stderr))


def serve(work: Callable[[Mapping[str, Any]], Mapping[str, Any]], argv: Sequence[str]) -> int:
    """Handles a `call` in the subprocess: reads the request and writes the reply of `work`.

    Args:
        work: Takes the request and returns the reply. A `UserError` becomes a reply with that
            error; any other exception is a crash.
        argv: Command line of the subprocess; the last argument is the folder.

    Returns:
        The exit code, 0.
    """
    from tfdeblur.errors import UserError

    folder = argv[-1]
    with open(os.path.join(folder, REQUEST), encoding="utf-8") as file:
        request = json.load(file)
    # As stated, since the parent may have been killed while this process imported its modules.
    parent = request.pop(PARENT)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    try:
        reply = dict(work(request))
    except UserError as error:
        reply = {ERROR: str(error)}
    path = os.path.join(folder, REPLY)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(reply, file)
    os.replace(path + ".partial", path)
    return 0


def _kill(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _describe_crash(code: int, stderr: str) -> str:
    """Returns one line about a subprocess that ended without a reply."""
    if code < 0:
        reason = f"was killed by {signal.Signals(-code).name}"
    else:
        reason = f"failed with exit code {code}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()][-_STDERR_LINES:]
    details = f": {' | '.join(lines)}" if lines else ""
    return f"the subprocess {reason}{details}"


def _exit_with_parent(parent: int) -> None:
    """Exits this process soon after its parent has exited or was killed."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
