"""One run in one work directory: ``WORKDIR/run.lock``.

The file says which process holds the directory and carries a counter that the process moves on
every few seconds. A lock outlives a process that was killed, so whoever finds one looks whether
its owner still lives: on the same machine by the process table, at once; from another machine by
watching whether the counter moves, which no clock can get wrong. Locks of the dead are taken over.

Where the file system has hard links (a local disk), two runs that start in the same instant cannot
both get the lock. On object stores (``gs://``) the one that writes last gets it, and the other one
sees that after a moment, or, if it was very slow in between, at its next beat: then it stops.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files

LOCK = "run.lock"

# Between two moves of the counter. Whoever watches waits for two and a half.
BEAT_SECONDS = 10.0

# On object stores: time for the other one of two simultaneous writers to have written.
SETTLE_SECONDS = 2.0

_POLL_SECONDS = 0.2

# Locks that this process holds, by their tokens.
_held: set[str] = set()


class WorkdirLock:
    """Holds a work directory for as long as a `with` block runs.

    Args:
        workdir: The run's folder; it is made where it does not exist. ``ram://`` is this
            process's own and needs no lock.
        beat_seconds: Between two moves of the counter.
        settle_seconds: See `SETTLE_SECONDS`.
    """

    def __init__(
        self,
        workdir: str,
        *,
        beat_seconds: float = BEAT_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._workdir = workdir
        self._path = files.join(workdir, LOCK)
        self._beat_seconds = beat_seconds
        self._settle_seconds = settle_seconds
        self._mine: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "process_start": _process_start(os.getpid()),
            "beat": 0,
        }
        self._other: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "WorkdirLock":
        """Takes the lock.

        Raises:
            UserError: Another run has it.
        """
        if self._workdir.startswith("ram://"):
            return self
        files.make_dirs(self._workdir)
        while not self._create():
            owner = self._read()
            if owner is None:
                continue
            if self._lives(owner):
                raise UserError(
                    f"{self._workdir} is in use by another run: {_name(owner)}. Wait for it to end "
                    "or stop it, or choose another --workdir."
                )
            self._put_away(owner)
        _held.add(self._mine["token"])
        self._thread = threading.Thread(target=self._beat, name="workdir lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the lock back."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        _held.discard(self._mine["token"])
        # A lock that cannot be removed belongs to a process that will be gone: it is harmless.
        with contextlib.suppress(UserError):
            if self._is_mine(self._read()):
                files.remove(self._path)

    def check(self) -> None:
        """Looks whether the directory is still this run's own.

        Raises:
            UserError: Another run has taken it over.
        """
        if self._other is not None:
            raise UserError(
                f"{self._workdir} was taken over by another run, {_name(self._other)}, while this "
                "one could not be seen to live. This one stops, and has changed nothing since; "
                "its checkpoints are where the other one goes on."
            )

    def look(self) -> None:
        """Does the same by the lock itself, not by what was last seen of it.

        That is for moments before something is changed: a process that was asleep for a while
        has not seen yet who came in between.

        Raises:
            UserError: Another run has taken the directory over, or the lock cannot be read.
        """
        if self._thread is not None and self._other is None:
            owner = self._read()
            if owner and not self._is_mine(owner):
                self._other = owner
        self.check()

    def _create(self) -> bool:
        """Writes the lock where there is none; tells whether it is ours now."""
        if files.exists(self._path):
            return False
        if "://" not in self._path:
            # A link fails where the name is taken, whatever others do at the same time.
            beside = f"{self._path}.{self._mine['token']}"
            files.write_text(beside, self._text())
            try:
                os.link(beside, self._path)
                return True
            except FileExistsError:
                return False
            except OSError:
                pass  # This file system has no hard links: the way of object stores then.
            finally:
                files.remove(beside)
        files.write_text(self._path, self._text())
        time.sleep(self._settle_seconds)
        return self._is_mine(self._read())

    def _text(self) -> str:
        return json.dumps(self._mine) + "\n"

    def _read(self) -> dict[str, Any] | None:
        """Returns what the lock says: nothing where there is none, {} where it is no lock."""
        try:
            text = files.read_text(self._path)
        except UserError:
            if files.exists(self._path):
                raise
            return None
        try:
            owner = json.loads(text)
        except json.JSONDecodeError:
            return {}
        return owner if isinstance(owner, dict) and "token" in owner else {}

    def _is_mine(self, owner: dict[str, Any] | None) -> bool:
        return owner is not None and owner.get("token") == self._mine["token"]

    def _lives(self, owner: dict[str, Any]) -> bool:
        if not owner:
            return False
        if owner["token"] in _held:
            return True
        if owner.get("machine") == self._mine["machine"]:
            start = _process_start(owner["pid"])
            return start is not None and start == owner.get("process_start")
        return self._moves(owner)

    def _moves(self, owner: dict[str, Any]) -> bool:
        """Watches the counter of a process on another machine."""
        seconds = 2.5 * self._beat_seconds
        tqdm.write(
            f"{self._workdir} was in use by {_name(owner)}; watching for {seconds:.0f} s whether "
            "it still is."
        )
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            now = self._read()
            if now != owner:
                return bool(now)
        return False

    def _put_away(self, owner: dict[str, Any]) -> None:
        """Removes the lock of a dead process, unless another run was quicker."""
        if "://" in self._path:
            files.remove(self._path)
            return
        aside = f"{self._path}.{self._mine['token']}"
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(
                f"Cannot remove {self._path}, the lock of a run that has ended "
                f"({_name(owner)}): {error.strerror}. Make {self._workdir} writable, and run the "
                "same command again."
            ) from error
        if owner and owner["token"] not in files.read_text(aside):
            # Another run has put the old one away in the meantime: this one is its new lock.
            files.rename(aside, self._path)
            return
        files.remove(aside)

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            # A beat that cannot be written, on a full disk for one, is no reason to stop. Nor is
            # any error one to beat no more: the lock of a run that lives would be taken over.
            with contextlib.suppress(UserError, OSError):
                owner = self._read()
                if owner and not self._is_mine(owner):
                    self._other = owner
                    return
                self._mine["beat"] += 1
                files.write_text(self._path, self._text())


def _name(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid')} on {owner.get('host')}"


def _machine() -> str:
    """Names this machine as its process table is seen from here, containers apart."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """Returns when a process of this machine began, or None where it has ended.

    Numbers of processes are used again, so the number alone does not tell one from another.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program, in parentheses, may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except ProcessLookupError:  # it ended between opening and reading
        return None
    except FileNotFoundError:
        return _process_start_elsewhere(pid)
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start


def _process_start_elsewhere(pid: int) -> str | None:
    """Does the same for systems without ``/proc``, where only existence can be told."""
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
