"""Programs of their own: a request in one file, the answer in another, and a limit of time."""

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

REQUEST, ANSWER = "request.json", "answer.json"
ERROR = "error"

# How often a program looks whether anybody still waits for its answer.
_LOOK_SECONDS = 1.0

# Lines of a crashed program's last words that are repeated.
_LAST_WORDS = 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a program answered, or why it did not.

    Attributes:
        values: Its answer; empty where there is none.
        error: One sentence; empty where all went well.
        timed_out: The limit of time is why.
    """

    values: Mapping[str, Any]
    error: str = ""
    timed_out: bool = False


def ask(
    module: str,
    request: Mapping[str, Any],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> Answer:
    """Runs a module as a program and waits for its answer.

    Args:
        module: Its name; it calls `serve`.
        request: Plain values for it.
        seconds: After so long it is ended.
        environment: Variables that it gets besides this process's own.
        command: What is run instead of this Python with the module; for tests.

    Returns:
        Its answer. A crash, whatever it was, is an answer with an error.
    """
    with tempfile.TemporaryDirectory(prefix="tfdeblur-") as folder:
        with open(os.path.join(folder, REQUEST), "w", encoding="utf-8") as file:
            json.dump(dict(request), file)
        words = [*(command or (sys.executable, "-m", module)), folder]
        process = subprocess.Popen(
            words,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A group of its own: whatever it starts ends with it.
            start_new_session=True,
        )
        try:
            _, words_of_it = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return Answer({}, f"not done after {seconds:,.0f} s", timed_out=True)
        except BaseException:
            _end(process)
            raise
        path = os.path.join(folder, ANSWER)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
            return Answer(values, str(values.get(ERROR, "")))
    return Answer({}, _crash(process.returncode, words_of_it))


def _end(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _crash(code: int, words: str) -> str:
    """Returns one line about a program that ended without an answer."""
    if code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"left with exit code {code}"
    lines = [line.strip() for line in words.splitlines() if line.strip()][-_LAST_WORDS:]
    last = f": {' | '.join(lines)}" if lines else ""
    return f"the program {how}{last}"


def _follow(parent: int) -> None:
    """Ends this process soon after the one that asked is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def serve(work: Callable[[Mapping[str, Any]], Mapping[str, Any]], argv: Sequence[str]) -> int:
    """Is the other side of `ask`: reads the request, calls `work`, writes the answer.

    Args:
        work: Takes the request and returns the answer. A `UserError` of its is answered as an
            error; anything else is a crash.
        argv: The program's words; the last is the folder.
    """
    from tfdeblur.errors import UserError

    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    folder = argv[-1]
    with open(os.path.join(folder, REQUEST), encoding="utf-8") as file:
        request = json.load(file)
    try:
        answer = dict(work(request))
    except UserError as error:
        answer = {ERROR: str(error)}
    path = os.path.join(folder, ANSWER)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(path + ".partial", path)
    return 0
