"""The lock of a work directory: one run at a time, and takeover from dead processes."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from tests.helpers.planting import take_lock
from tfdeblur.errors import UserError
from tfdeblur.training.resilience import lock as lock_module
from tfdeblur.training.resilience.lock import LOCK, WorkdirLock

HOLD = """
import sys, time
from tfdeblur.training.resilience.lock import WorkdirLock
with WorkdirLock(sys.argv[1], beat_seconds=0.2):
    print("held", flush=True)
    time.sleep(600)
"""


def read(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / LOCK).read_text())


def write(workdir: pathlib.Path, **owner) -> None:
    known = {"token": "other", "host": "elsewhere", "machine": "elsewhere 1", "pid": 7, "beat": 0}
    (workdir / LOCK).write_text(json.dumps({**known, **owner}))


def test_lock_exists_while_held(tmp_path):
    workdir = tmp_path / "run"
    with WorkdirLock(str(workdir)) as lock:
        assert read(workdir)["pid"] == os.getpid()
        lock.check()
    assert list(workdir.iterdir()) == []


def test_lock_held_by_live_run_raises_user_error_and_is_unchanged(tmp_path):
    with WorkdirLock(str(tmp_path)):
        held = read(tmp_path)
        with pytest.raises(UserError, match=rf"in use by another run: process {os.getpid()} on "):
            WorkdirLock(str(tmp_path)).__enter__()
        assert read(tmp_path) == held
    with WorkdirLock(str(tmp_path)):
        pass


@pytest.mark.slow
def test_lock_of_killed_process_is_taken_over_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"process {process.pid} on "):
        WorkdirLock(str(tmp_path)).__enter__()
    process.kill()
    # A process that has ended but whose parent has not waited for it.
    while lock_module._process_start(process.pid) is not None:
        time.sleep(0.01)
    with WorkdirLock(str(tmp_path)):
        assert read(tmp_path)["pid"] == os.getpid()
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == []


def test_lock_with_reused_process_number_is_taken_over(tmp_path):
    with WorkdirLock(str(tmp_path)):
        mine = read(tmp_path)
    write(tmp_path, machine=mine["machine"], pid=os.getpid(), process_start="12")
    with WorkdirLock(str(tmp_path)):
        assert read(tmp_path)["token"] != "other"


class TestAnotherMachine:
    @pytest.fixture(autouse=True)
    def no_sleep(self, monkeypatch):
        """Replaces the clock; events in `then` happen at their time."""
        self.now, self.then = 0.0, {}
        monkeypatch.setattr(lock_module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(lock_module.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds
        for when in [when for when in self.then if when <= self.now]:
            self.then.pop(when)()

    def test_changing_counter_is_a_live_run(self, tmp_path, capsys):
        write(tmp_path)
        self.then[8.0] = lambda: write(tmp_path, beat=1)
        with pytest.raises(UserError, match="in use by another run: process 7 on elsewhere"):
            WorkdirLock(str(tmp_path)).__enter__()
        assert "checking for 25 s whether" in capsys.readouterr().out

    def test_constant_counter_is_a_dead_run(self, tmp_path):
        # No clock is compared: the file has no time.
        write(tmp_path)
        with WorkdirLock(str(tmp_path)):
            assert read(tmp_path)["token"] != "other"
        assert 24 < self.now < 27

    def test_lock_released_while_watching_is_acquired(self, tmp_path):
        write(tmp_path)
        self.then[5.0] = (tmp_path / LOCK).unlink
        with WorkdirLock(str(tmp_path)):
            assert read(tmp_path)["token"] != "other"

    def test_without_hard_links_the_last_writer_holds_the_lock(self, tmp_path, monkeypatch):
        def no_links(*args):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(lock_module.os, "link", no_links)
        with WorkdirLock(str(tmp_path)) as lock:
            assert read(tmp_path)["token"] == lock._mine["token"]
        # Another live run writes at the same instant.
        self.now = 0.0
        self.then[1.0] = lambda: write(tmp_path)
        self.then[7.0] = lambda: write(tmp_path, beat=1)
        with pytest.raises(UserError, match="process 7 on elsewhere"):
            WorkdirLock(str(tmp_path)).__enter__()


def test_check_after_takeover_raises_user_error(tmp_path):
    with WorkdirLock(str(tmp_path), beat_seconds=0.01) as lock:
        take_lock(tmp_path, 0.1)
        assert lock._thread is not None
        lock._thread.join(timeout=30)
        with pytest.raises(UserError, match="taken over by another run, process 7 on there"):
            lock.check()
    # The other run's lock stays.
    assert read(tmp_path)["token"] == "other"


def test_look_after_takeover_raises_user_error_before_the_next_heartbeat(tmp_path):
    with WorkdirLock(str(tmp_path), beat_seconds=3600) as lock:
        lock.look()
        write(tmp_path)
        lock.check()
        for check in (lock.look, lock.check):
            with pytest.raises(UserError, match="taken over by another run, process 7 on elsew"):
                check()
    assert read(tmp_path)["token"] == "other"


def test_look_at_missing_or_damaged_lock_does_not_raise(tmp_path, folder):
    with WorkdirLock(str(tmp_path), beat_seconds=3600) as lock:
        (tmp_path / LOCK).write_text("{")
        lock.look()
        (tmp_path / LOCK).unlink()
        lock.look()
    with WorkdirLock(folder) as lock:
        lock.look()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', '{"token": []}', "[" * 200_000])
def test_damaged_lock_is_taken_over(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with WorkdirLock(str(tmp_path)):
        assert read(tmp_path)["pid"] == os.getpid()


def test_workdir_in_memory_needs_no_lock(folder):
    with WorkdirLock(folder), WorkdirLock(folder):
        pass


def test_heartbeat_continues_after_errors(tmp_path, monkeypatch):
    with WorkdirLock(str(tmp_path), beat_seconds=0.01) as lock:
        failures = iter([OSError("stale"), UserError("503")])

        def failing():
            for failure in failures:
                raise failure
            return read(tmp_path)

        monkeypatch.setattr(lock, "_read", failing)
        until = time.monotonic() + 10
        while read(tmp_path)["beat"] < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert next(failures, None) is None
        assert read(tmp_path)["beat"] >= 2


def test_dead_lock_that_cannot_be_removed_raises_user_error(tmp_path, monkeypatch):
    write(tmp_path, machine=lock_module._machine(), pid=1 << 23, process_start="1")
    before = read(tmp_path)

    def refused(source, target):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(UserError, match=r"Cannot remove .*run\.lock, the lock of a run that has"):
        WorkdirLock(str(tmp_path)).__enter__()
    assert read(tmp_path) == before
