"""What can go wrong with a run, done to a copy of one; `faults` has the table."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

import pytest
import tensorflow as tf

from tests.helpers.poison import poison
from tfdeblur import train
from tfdeblur.checkpoints.manifest import META, sealed
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS
from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.training import loop, trainer
from tfdeblur.training.engines.tensorflow import step
from tfdeblur.training.resilience.lock import LOCK, WorkdirLock

# What the command had finished before the fault, and where it is to end, in steps.
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
        return self.run / CHECKPOINTS / f"{FINISHED * BATCH:012d}" / name

    def shard(self) -> pathlib.Path:
        """A shard of the training split."""
        return sorted(self.data.glob("train-*"))[-1]

    def train(self, *words: str, steps: int = GOAL) -> tuple[int, str]:
        """Runs the command; returns its exit code and all that it says."""
        said = io.StringIO()
        command = [
            *("--workdir", str(self.run), "--data", str(self.data)),
            *("--model", "unet16", "--model.width", "4", "--objective", "content"),
            *("--global-batch", str(BATCH), "--steps", str(steps), "--runtime.deterministic"),
            *("--save-every", "2 steps", "--output.log-every", "1 steps", "--keep", "3"),
            *("--output.validate-every", "2 steps", *words),
        ]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = train.main(command)
        return code, said.getvalue()


# ------------------------------------------------------------------------------- damage on the disk


def empty(path: pathlib.Path) -> None:
    """Leaves nothing in a file."""
    path.write_bytes(b"")


def cut(path: pathlib.Path) -> None:
    """Leaves the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def deny(patch: pytest.MonkeyPatch, *paths: str) -> None:
    """Lets files refuse to be read, as their rights do, to root as well."""
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
        flip(folder / "state.index")
    return lambda: shutil.rmtree(site.run / CHECKPOINTS)


def best(site: Site) -> None:
    """Damages the best weights."""
    flip(next((site.run / BEST).iterdir()) / "generator.weights.h5")


def described(**entries: object) -> Callable[[Site], Callable[[], object]]:
    """Lets the newest checkpoint say something else of itself, with a checksum that agrees."""

    def plant(site: Site) -> Callable[[], object]:
        path = site.newest(META)
        before = path.read_bytes()
        path.write_text(json.dumps(sealed({**json.loads(before), **entries})))
        # Where it was put aside, nothing has to be mended.
        return lambda: path.parent.is_dir() and path.write_bytes(before)

    return plant


def another_score(site: Site) -> None:
    """Changes a score in the description of the newest checkpoint, which stays valid."""
    path = site.newest(META)
    meta = json.loads(path.read_text())
    scores = {name: value + 1.0 for name, value in meta["metrics"].items()}
    path.write_text(json.dumps({**meta, "metrics": scores}))


def unreadable(path: Callable[[Site], pathlib.Path]) -> Callable[[Site], Callable[[], object]]:
    """Takes away the right to read a file, or the network that it lies behind."""

    def plant(site: Site) -> Callable[[], object]:
        deny(site.patch, str(path(site)))
        return site.patch.undo

    return plant


def best_description(site: Site) -> pathlib.Path:
    """The description of the best weights."""
    return next((site.run / BEST).iterdir()) / META


def somebodys_folders(site: Site) -> Callable[[], object]:
    """Puts folders of a person among the checkpoints; they must be there at the end."""
    notes = [site.run / kind / "notes" / "a.txt" for kind in (CHECKPOINTS, BEST)]
    for path in notes:
        path.parent.mkdir()
        path.write_text("mine")

    def look() -> None:
        if any(path.read_text() != "mine" for path in notes):
            raise AssertionError("a folder of somebody else was changed")

    return look


def replaced(name: str, text: str) -> Callable[[Site], Callable[[], object]]:
    """Overwrites a file of the work directory; it is removed to go on."""

    def plant(site: Site) -> Callable[[], object]:
        (site.run / name).write_text(text)
        return lambda: (site.run / name).unlink(missing_ok=True)

    return plant


def damaged_history(site: Site) -> None:
    """Puts zeros into the history, as a file system does after a power cut."""
    path = site.run / "history.csv"
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes(40))


# --------------------------------------------------------------------------------------- two runs


def dead_owner(site: Site) -> None:
    """Leaves the lock of a process of this machine that was killed."""
    with WorkdirLock(str(site.run)):
        owner = json.loads((site.run / LOCK).read_text())
    # No process has this number: it is above the largest that Linux gives.
    (site.run / LOCK).write_text(json.dumps({**owner, "pid": (1 << 22) + 1, "token": "dead"}))


def living_owner(site: Site) -> Callable[[], object]:
    """Lets another run hold the work directory."""
    stack = contextlib.ExitStack()
    stack.enter_context(WorkdirLock(str(site.run)))
    return stack.close


def take_lock(workdir: pathlib.Path, seconds: float) -> None:
    """Puts another run's lock in the place of the one that is there, until it stays.

    Who holds a lock may have read it right before and writes its own over this one, once.

    Args:
        workdir: The folder of the run that loses its lock.
        seconds: To wait before the look whether the new one stayed: several beats of the old one.
    """
    text = json.dumps({"token": "other", "host": "there", "pid": 7})
    lock, beside = workdir / LOCK, workdir / "other.lock"
    for _ in range(10):
        beside.write_text(text)
        beside.replace(lock)
        time.sleep(seconds)
        if lock.read_text() == text:
            return
    raise AssertionError(f"{lock} does not stay with the run that took it over.")


def taken_over(beat_seconds: float) -> Callable[[Site], Callable[[], object]]:
    """Lets another run take the work directory in the middle of the training.

    Whoever beats often sees it soon; whoever beats seldom has to look before it saves.
    """

    def plant(site: Site) -> Callable[[], object]:
        def steal(images: int) -> None:
            take_lock(site.run, min(50 * beat_seconds, 1.0))

        make_lock = WorkdirLock.__init__

        def with_beat(self: WorkdirLock, workdir: str, **options: float) -> None:
            make_lock(self, workdir, beat_seconds=beat_seconds)

        site.patch.setattr(WorkdirLock, "__init__", with_beat)
        while_training(site, steal)

        def mend() -> None:
            site.patch.undo()
            # A run that did not stop has removed it; what it says is what fails then.
            (site.run / LOCK).unlink(missing_ok=True)

        return mend

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


def while_training(site: Site, act: Callable[[int], object]) -> None:
    """Does something once, right before the first step of the run."""
    make_call = loop.Loop._call
    done: list[bool] = []

    def call(self: loop.Loop, *arguments: object) -> object:
        result = make_call(self, *arguments)
        if not done:
            done.append(True)
            act(self._state.images_seen)
        return result

    site.patch.setattr(loop.Loop, "_call", call)


def before_reading(
    change: Callable[[pathlib.Path], object],
) -> Callable[[Site], Callable[[], object]]:
    """Changes a shard after the checks at the start, before its records are read."""

    def plant(site: Site) -> Callable[[], object]:
        shard, data, batches = site.shard(), site.shard().read_bytes(), trainer.Run.batches

        def spoiled(self: trainer.Run) -> object:
            change(shard)
            return batches(self)

        site.patch.setattr(trainer.Run, "batches", spoiled)

        def mend() -> None:
            site.patch.undo()
            shard.write_bytes(data)

        return mend

    return plant


def last_record_lost(shard: pathlib.Path) -> None:
    """Cuts a shard at the end of a record, which raises nothing by itself."""
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
    """Cuts the manifest off."""
    path = site.data / "manifest.json"
    data = path.read_bytes()
    cut(path)
    return lambda: path.write_bytes(data)


# --------------------------------------------------------------------------------- numbers, machine


def nan_batch(site: Site) -> Callable[[], object]:
    """Lets one record that is still to come restore to what is no number."""
    poison(site.patch, str(site.data), position=FINISHED * BATCH + 4)
    return site.patch.undo


def no_memory(site: Site) -> Callable[[], object]:
    """Asks for 400 terabytes in the middle of a step."""
    to_unit = step.uint8_to_unit

    def greedy(images: tf.Tensor) -> tf.Tensor:
        # Nothing of it may be known before the step runs, or it would be left out.
        side = tf.cast(tf.reduce_max(images), tf.int32) + 10**7
        return to_unit(images) + 1e-30 * tf.reduce_sum(tf.fill([side, side], 1.0))

    site.patch.setattr(step, "uint8_to_unit", greedy)
    return site.patch.undo


def told_to_stop(number: int) -> Callable[[Site], Callable[[], object]]:
    """Sends a signal in the middle of the training."""

    def plant(site: Site) -> Callable[[], object]:
        while_training(site, lambda images: os.kill(os.getpid(), number))
        # A program that a shell started in the background ignores SIGINT, and so does a run in it.
        before = signal.signal(number, signal.SIG_DFL)

        def undo() -> None:
            signal.signal(number, before)
            site.patch.undo()

        return undo

    return plant


def clock_goes_back(site: Site) -> Callable[[], object]:
    """Puts the clock back by an hour whenever somebody looks at it."""
    start = time.time()
    looks = iter(range(10**9))
    site.patch.setattr(time, "time", lambda: start - 3600.0 * next(looks))
    return site.patch.undo
