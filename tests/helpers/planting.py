"""Faults that are injected into a copy of a run; `tests.helpers.faults` has the table."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

from tests.helpers.poison import poison
from tfdeblur import train
from tfdeblur.checkpoints.manifest import META, checkpoint_name, sealed
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS
from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.training.callbacks import ProgressBar
from tfdeblur.training.engines.tensorflow import train_step
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
from tfdeblur.training.resilience.lock import LOCK, WorkdirLock

# Steps before the fault, and steps of the whole run.
FINISHED, GOAL = 4, 6
BATCH = 8


@dataclasses.dataclass
class Site:
    """A copy of an unfinished run and of its data, for one fault.

    Attributes:
        folder: Holds ``data`` and ``run``.
        patch: For faults that no file can hold.
    """

    folder: pathlib.Path
    patch: pytest.MonkeyPatch

    @property
    def data(self) -> pathlib.Path:
        """The data set."""
        return self.folder / "data"

    @property
    def run(self) -> pathlib.Path:
        """The work directory."""
        return self.folder / "run"

    def newest(self, name: str = "") -> pathlib.Path:
        """The newest checkpoint, or a file of it."""
        return self.run / CHECKPOINTS / checkpoint_name(FINISHED * BATCH) / name

    def shard(self) -> pathlib.Path:
        """A shard of the training split."""
        return sorted(self.data.glob("train-*"))[-1]

    def train(self, *words: str, steps: int = GOAL) -> tuple[int, str]:
        """Runs the command; returns its exit code and its output."""
        output = io.StringIO()
        command = [
            *("--workdir", str(self.run), "--data", str(self.data)),
            *("--model", "unet16", "--model.width", "4", "--objective", "content"),
            *("--global-batch", str(BATCH), "--steps", str(steps), "--runtime.deterministic"),
            *("--save-every", "2 steps", "--output.log-every", "1 steps", "--keep", "3"),
            *("--output.validate-every", "2 steps", *words),
        ]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = train.main(command)
        return code, output.getvalue()


# ------------------------------------------------------------------------------- damage on the disk


def empty(path: pathlib.Path) -> None:
    """Empties a file."""
    path.write_bytes(b"")


def cut(path: pathlib.Path) -> None:
    """Cuts a file to its first half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def deny(patch: pytest.MonkeyPatch, *paths: str) -> None:
    """Makes files unreadable, for root too."""
    read = files.read_bytes

    def refused(path: str) -> bytes:
        if path in paths:
            raise UserError(f"Cannot read {path}: permission denied.")
        return read(path)

    patch.setattr(files, "read_bytes", refused)


def in_newest(name: str, how: Callable[[pathlib.Path], object]) -> Callable[[Site], None]:
    """Damages a file of the newest checkpoint."""
    return lambda site: how(site.newest(name)) and None


def all_checkpoints(site: Site) -> Callable[[], object]:
    """Damages every checkpoint."""
    for folder in (site.run / CHECKPOINTS).iterdir():
        flip(folder / "state.safetensors")
    return lambda: shutil.rmtree(site.run / CHECKPOINTS)


def best(site: Site) -> None:
    """Damages the best weights."""
    flip(next((site.run / BEST).iterdir()) / "generator.safetensors")


def described(**entries: object) -> Callable[[Site], Callable[[], object]]:
    """Changes entries of the newest checkpoint's ``meta.json``, with a matching checksum."""

    def plant(site: Site) -> Callable[[], object]:
        path = site.newest(META)
        before = path.read_bytes()
        path.write_text(json.dumps(sealed({**json.loads(before), **entries})))
        # A checkpoint that was set aside needs no fix.
        return lambda: path.parent.is_dir() and path.write_bytes(before)

    return plant


def another_score(site: Site) -> None:
    """Changes a score in the newest checkpoint's ``meta.json``, which stays valid."""
    path = site.newest(META)
    meta = json.loads(path.read_text())
    scores = {name: value + 1.0 for name, value in meta["metrics"].items()}
    path.write_text(json.dumps({**meta, "metrics": scores}))


def unreadable(path: Callable[[Site], pathlib.Path]) -> Callable[[Site], Callable[[], object]]:
    """Makes a file unreadable, as permissions or a network do."""

    def plant(site: Site) -> Callable[[], object]:
        deny(site.patch, str(path(site)))
        return site.patch.undo

    return plant


def best_description(site: Site) -> pathlib.Path:
    """The ``meta.json`` of the best weights."""
    return next((site.run / BEST).iterdir()) / META


def user_folders(site: Site) -> Callable[[], object]:
    """Adds a user's folders to the checkpoints; they must exist at the end."""
    notes = [site.run / kind / "notes" / "a.txt" for kind in (CHECKPOINTS, BEST)]
    for path in notes:
        path.parent.mkdir()
        path.write_text("mine")

    def check() -> None:
        if any(path.read_text() != "mine" for path in notes):
            raise AssertionError("a user's folder was changed")

    return check


def replaced(name: str, text: str) -> Callable[[Site], Callable[[], object]]:
    """Overwrites a file of the work directory; the fix removes it."""

    def plant(site: Site) -> Callable[[], object]:
        (site.run / name).write_text(text)
        return lambda: (site.run / name).unlink(missing_ok=True)

    return plant


def damaged_history(site: Site) -> None:
    """Writes zeros into the history, as a file system does after a power cut."""
    path = site.run / "history.csv"
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes(40))


# --------------------------------------------------------------------------------------- two runs


def dead_owner(site: Site) -> None:
    """Leaves the lock of a process of this machine that was killed."""
    with WorkdirLock(str(site.run)):
        owner = json.loads((site.run / LOCK).read_text())
    # No process has this number: it is above the largest one of Linux.
    (site.run / LOCK).write_text(json.dumps({**owner, "pid": (1 << 22) + 1, "token": "dead"}))


def living_owner(site: Site) -> Callable[[], object]:
    """Locks the work directory for another run."""
    stack = contextlib.ExitStack()
    stack.enter_context(WorkdirLock(str(site.run)))
    return stack.close


def take_lock(workdir: pathlib.Path, seconds: float) -> None:
    """Replaces the lock of a run by another run's, until it stays.

    The owner may have read its lock right before, and then overwrites the new one once.

    Args:
        workdir: The work directory of the run that loses its lock.
        seconds: Time before checking that the new lock stayed: several heartbeats of the owner.
    """
    text = json.dumps({"token": "other", "host": "there", "pid": 7})
    lock, beside = workdir / LOCK, workdir / "other.lock"
    for _ in range(10):
        beside.write_text(text)
        beside.replace(lock)
        time.sleep(seconds)
        if lock.read_text() == text:
            return
    raise AssertionError(f"{lock} was overwritten again and again.")


def taken_over(beat_seconds: float) -> Callable[[Site], Callable[[], object]]:
    """Makes another run take over the work directory in the middle of the training.

    A run with a short heartbeat notices soon; one with a long heartbeat, only before it saves.
    """

    def plant(site: Site) -> Callable[[], object]:
        def steal() -> None:
            take_lock(site.run, min(50 * beat_seconds, 1.0))

        make_lock = WorkdirLock.__init__

        def with_beat(self: WorkdirLock, workdir: str, **options: float) -> None:
            make_lock(self, workdir, beat_seconds=beat_seconds)

        site.patch.setattr(WorkdirLock, "__init__", with_beat)
        while_training(site, steal)

        def fix() -> None:
            site.patch.undo()
            # A run that did not stop has removed it; then the test fails by its message.
            (site.run / LOCK).unlink(missing_ok=True)

        return fix

    return plant


# ------------------------------------------------------------------------------------------- data


def removed(path: Callable[[Site], pathlib.Path]) -> Callable[[Site], Callable[[], object]]:
    """Removes a file of the data before the run starts."""

    def plant(site: Site) -> Callable[[], object]:
        file = path(site)
        data = file.read_bytes()
        file.unlink()
        return lambda: file.write_bytes(data)

    return plant


def while_training(site: Site, act: Callable[[], object]) -> None:
    """Does something once, right after the first call of the run."""
    advance = ProgressBar.__call__
    done: list[bool] = []

    def act_and_advance(self: ProgressBar, *arguments: object) -> None:
        if not done:
            done.append(True)
            act()
        advance(self, *arguments)

    site.patch.setattr(ProgressBar, "__call__", act_and_advance)


def before_reading(
    change: Callable[[pathlib.Path], object],
) -> Callable[[Site], Callable[[], object]]:
    """Changes a shard after the checks at the start, before its records are read."""

    def plant(site: Site) -> Callable[[], object]:
        shard, data = site.shard(), site.shard().read_bytes()
        batches = TensorFlowEngine.batches

        def spoiled(engine: TensorFlowEngine, *arguments: Any) -> Iterator[Any]:
            change(shard)
            return batches(engine, *arguments)

        site.patch.setattr(TensorFlowEngine, "batches", spoiled)

        def fix() -> None:
            site.patch.undo()
            shard.write_bytes(data)

        return fix

    return plant


def last_record_lost(shard: pathlib.Path) -> None:
    """Cuts a shard at the end of a record, which TensorFlow does not notice."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records[:-1]:
            writer.write(record)


def damaged_record(site: Site) -> Callable[[], object]:
    """Changes one bit in the middle of a shard, which keeps its size."""
    shard, data = site.shard(), site.shard().read_bytes()
    flip(shard)
    return lambda: shard.write_bytes(data)


def damaged_manifest(site: Site) -> Callable[[], object]:
    """Cuts the manifest to its first half."""
    path = site.data / "manifest.json"
    data = path.read_bytes()
    cut(path)
    return lambda: path.write_bytes(data)


# --------------------------------------------------------------------------------- numbers, machine


def nan_batch(site: Site) -> Callable[[], object]:
    """Makes the outputs for one later record NaN."""
    poison(site.patch, str(site.data), position=FINISHED * BATCH + 4)
    return site.patch.undo


def no_memory(site: Site) -> Callable[[], object]:
    """Allocates 400 terabytes in the middle of a step."""
    to_unit = train_step.uint8_to_unit

    def greedy(images: tf.Tensor) -> tf.Tensor:
        # Depends on the images, or TensorFlow would fold it before the step runs.
        side = tf.cast(tf.reduce_max(images), tf.int32) + 10**7
        return to_unit(images) + 1e-30 * tf.reduce_sum(tf.fill([side, side], 1.0))

    site.patch.setattr(train_step, "uint8_to_unit", greedy)
    return site.patch.undo


def signalled(number: int) -> Callable[[Site], Callable[[], object]]:
    """Sends a signal in the middle of the training."""

    def plant(site: Site) -> Callable[[], object]:
        while_training(site, lambda: os.kill(os.getpid(), number))
        # A program that a shell started in the background ignores SIGINT, and so would the run.
        before = signal.signal(number, signal.SIG_DFL)

        def undo() -> None:
            signal.signal(number, before)
            site.patch.undo()

        return undo

    return plant


def clock_goes_back(site: Site) -> Callable[[], object]:
    """Sets the clock back by an hour each time it is read."""
    start = time.time()
    reads = iter(range(10**9))
    site.patch.setattr(time, "time", lambda: start - 3600.0 * next(reads))
    return site.patch.undo
