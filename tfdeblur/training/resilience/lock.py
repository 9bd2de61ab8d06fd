"""A lock that limits a work directory to one run: ``WORKDIR/run.lock``.

The file names the process that holds the directory, and has a counter that the process increases
every few seconds. A lock outlives a killed process, so a run that finds one checks whether its
owner is alive: on the same machine by the process table, at once; on another machine by watching
the counter, which needs no clocks. Locks of dead processes are taken over.

On file systems with hard links (a local disk), two runs that start at the same instant cannot both
get the lock. On object stores (``gs://``) the last writer gets it, and the other run notices after
a moment, or, if it was very slow in between, at its next heartbeat: then it stops.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from typing import Any

from tqdm import tqdm

from tfdeblur.errors import UserError
from tfdeblur.io import files

LOCK = "run.lock"

# Interval of the heartbeat. A run that watches another one waits for two and a half.
BEAT_SECONDS = 10.0

# On object stores: time for the other of two simultaneous writers to finish.
_SETTLE_SECONDS = 2.0

_POLL_SECONDS = 0.2

# Tokens of the locks that this process holds.
_held: set[str] = set()


class WorkdirLock:
    """Holds a work directory for as long as a `with` block runs.

    Args:
        workdir: The work directory, which is created if it does not exist. ``ram://`` belongs to
            this process and needs no lock.
        beat_seconds: Interval of the heartbeat.
    """

    def __init__(self, workdir: str, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self._workdir = workdir
        self._path = files.join(workdir, LOCK)
        self._beat_seconds = beat_seconds
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
        """Acquires the lock.

        Raises:
            UserError: Another run holds it.
        """
        if self._workdir.startswith("ram://"):
            return self
        files.make_dirs(self._workdir)
        while not self._create():
            owner = self._read()
            if owner is None:
                continue
            if self._is_alive(owner):
                raise UserError(
                    f"{self._workdir} is in use by another run: {_name(owner)}. Wait for it to "
                    "end, stop it, or choose another --workdir."
                )
            self._remove_dead(owner)
        _held.add(self._mine["token"])
        self._thread = threading.Thread(target=self._beat, name="workdir lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Releases the lock."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        _held.discard(self._mine["token"])
        # A lock that cannot be removed is harmless: its process will be gone.
        with contextlib.suppress(UserError):
            if self._is_mine(self._read()):
                files.remove(self._path)

    def check(self) -> None:
        """Checks that no heartbeat has found another run's lock; reads no file.

        Raises:
            UserError: Another run has taken over the directory.
        """
        if self._other is not None:
            raise UserError(
                f"{self._workdir} was taken over by another run, {_name(self._other)}, while this "
                "one appeared to be dead. This run stops, and has changed nothing since; the "
                "other one resumes from its checkpoints."
            )

    def look(self) -> None:
        """Reads the lock and checks that it is still this run's.

        For use right before a change to the directory: a process that was suspended has had no
        heartbeat that would have found another run's lock.

        Raises:
            UserError: Another run has taken over the directory, or the lock cannot be read.
        """
        if self._thread is not None and self._other is None:
            owner = self._read()
            if owner and not self._is_mine(owner):
                self._other = owner
        self.check()

    def _create(self) -> bool:
        """Writes the lock unless there is one; returns whether this run has it now."""
        if files.exists(self._path):
            return False
        if "://" not in self._path:
            # Creating a link fails if the name exists, whatever others do at the same time.
            beside = f"{self._path}.{self._mine['token']}"
            files.write_text(beside, self._text())
            try:
                os.link(beside, self._path)
                return True
            except FileExistsError:
                return False
            except OSError:
                pass  # This file system has no hard links: proceed as on object stores.
            finally:
                files.remove(beside)
        files.write_text(self._path, self._text())
        time.sleep(_SETTLE_SECONDS)
        return self._is_mine(self._read())

    def _text(self) -> str:
        return json.dumps(self._mine) + "\n"

    def _read(self) -> dict[str, Any] | None:
        """Returns the content of the lock: None if there is none, {} if it is damaged."""
        try:
            text = files.read_text(self._path)
        except UserError:
            if files.exists(self._path):
                raise
            return None
        try:
            owner = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return owner if isinstance(owner, dict) and isinstance(owner.get("token"), str) else {}

    def _is_mine(self, owner: dict[str, Any] | None) -> bool:
        return owner is not None and owner.get("token") == self._mine["token"]

    def _is_alive(self, owner: dict[str, Any]) -> bool:
        if not owner:
            return False
        if owner["token"] in _held:
            return True
        if owner.get("machine") == self._mine["machine"]:
            start = _process_start(owner.get("pid", 0))
            return start is not None and start == owner.get("process_start")
        return self._changes(owner)

    def _changes(self, owner: dict[str, Any]) -> bool:
        """Returns whether the counter of a process on another machine changes."""
        seconds = 2.5 * self._beat_seconds
        tqdm.write(
            f"{self._workdir} was in use by {_name(owner)}; checking for {seconds:.0f} s whether "
            "it still is."
        )
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            now = self._read()
            if now != owner:
                return bool(now)
        return False

    def _remove_dead(self, owner: dict[str, Any]) -> None:
        """Removes the lock of a dead process, unless another run was faster."""
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
            # Another run has removed the dead lock in the meantime: this is its own.
            files.rename(aside, self._path)
            return
        files.remove(aside)

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            # A failed heartbeat, for example on a full disk, is no reason to stop the run; nor
            # may an error end the heartbeat, or the lock of a live run would be taken over.
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
    """Returns an identifier of this machine's process table; containers have their own."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """Returns the start time of a process of this machine, or None if it has ended.

    Process numbers are reused, so a number alone does not identify a process.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program, in parentheses, may contain anything.
            fields = file.read().rpartition(")")[2].split()
    except ProcessLookupError:  # it ended between opening and reading
        return None
    except FileNotFoundError:
        return _process_start_elsewhere(pid)
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start


def _process_start_elsewhere(pid: int) -> str | None:
    """Returns "running" for a live process, or None, on systems without ``/proc``."""
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
