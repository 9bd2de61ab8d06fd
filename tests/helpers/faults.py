"""The table of faults: what is injected into a run, its message, and what is kept.

``python -m tests.helpers.faults`` prints it as ``docs/faults.md``; `test_faults` injects them all.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.helpers import planting
from tests.helpers import planting_disks as disks
from tests.helpers.planting import FINISHED, GOAL, Site
from tests.helpers.tiny_data import write_data_set
from tfdeblur.training.resilience.lock import LOCK


@dataclasses.dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        name: The fault.
        plant: Injects it; returns a function that fixes it, if resuming requires that.
        message: Part of the message; empty if none is needed.
        code: Exit code of the command; 0 if the run continues by itself.
        kept: What is kept and what is lost.
        flags: Additional flags of the command.
        changes_weights: Whether the fault is meant to change the final weights.
        messages: Number of messages; the last one contains `message`.
    """

    name: str
    plant: Callable[[Site], Callable[[], object] | None]
    message: str
    code: int
    kept: str
    flags: tuple[str, ...] = ()
    changes_weights: bool = False
    messages: int = 1


EARLIER = "resumes from the one before; the damaged one is renamed"
ALL = "all checkpoints; the same command resumes"
NOTHING = "nothing is lost"


FAULTS = (
    Fault(
        "newest checkpoint: training state cut off",
        planting.in_newest("state.safetensors", planting.cut),
        "state.safetensors is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: one bit of the state flipped",
        planting.in_newest("state.safetensors", planting.flip),
        "state.safetensors is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: training state missing",
        planting.in_newest("state.safetensors", pathlib.Path.unlink),
        "is missing",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: one bit of the weights changed",
        planting.in_newest("generator.safetensors", planting.flip),
        "generator.safetensors is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: weights missing",
        planting.in_newest("generator.safetensors", pathlib.Path.unlink),
        "generator.safetensors is missing",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: meta.json cut off",
        planting.in_newest("meta.json", planting.cut),
        "meta.json is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: meta.json empty after a power cut",
        planting.in_newest("meta.json", planting.empty),
        "meta.json is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: meta.json without a list of files",
        planting.described(files=None),
        "meta.json is damaged (files: ",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: a score changed in meta.json",
        planting.another_score,
        "it does not match its own checksum",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: meta.json unreadable (permissions, network)",
        planting.unreadable(lambda site: site.newest("meta.json")),
        "meta.json: permission denied",
        2,
        ALL,
    ),
    Fault(
        "newest checkpoint: state unreadable (permissions, network)",
        planting.unreadable(lambda site: site.newest("state.safetensors")),
        "state.safetensors: permission denied",
        2,
        ALL,
    ),
    Fault(
        "killed while a checkpoint was written",
        planting.in_newest("meta.json", pathlib.Path.unlink),
        "",
        0,
        "resumes from the one before; the incomplete one is removed",
    ),
    Fault(
        "newest checkpoint: written by a later version",
        planting.described(format=99),
        "has checkpoint format 99",
        2,
        "all checkpoints; the version that wrote it resumes",
    ),
    Fault(
        "all checkpoints damaged",
        planting.all_checkpoints,
        "state.safetensors is damaged",
        2,
        "best weights; starts from scratch once the checkpoints are removed",
    ),
    Fault(
        "best weights damaged",
        planting.best,
        "The next validation writes new best weights",
        0,
        "the next validation writes new ones; the damaged ones are renamed",
    ),
    Fault(
        "best weights: meta.json unreadable (permissions, network)",
        planting.unreadable(planting.best_description),
        "meta.json: permission denied",
        2,
        ALL,
    ),
    Fault(
        "a user's folders among the checkpoints",
        planting.user_folders,
        "",
        0,
        "the folders; nothing is lost",
    ),
    Fault(
        "configuration of the work directory damaged",
        planting.replaced("config.yaml", "model: ["),
        "config.yaml is damaged",
        2,
        ALL,
    ),
    Fault(
        "configuration of the work directory empty",
        planting.replaced("config.yaml", ""),
        "config.yaml is damaged (it names no model)",
        2,
        ALL,
    ),
    Fault(
        "another model in the configuration",
        lambda site: lambda: None,
        "belongs to a run with model",
        2,
        ALL,
        flags=("--model.width", "8"),
    ),
    Fault(
        "another optimizer in the configuration",
        lambda site: lambda: None,
        "does not fit this run",
        2,
        ALL,
        flags=("--optimizer.name", "rmsprop"),
    ),
    Fault(
        "history damaged",
        planting.damaged_history,
        "history.csv is damaged",
        0,
        "its intact rows; the damaged file is renamed",
    ),
    Fault(
        "list of incidents damaged",
        planting.replaced("incidents.json", "[{"),
        "incidents.json is damaged",
        2,
        ALL,
    ),
    Fault(
        "full disk: weights of a new checkpoint",
        disks.full_disk("generator.safetensors"),
        "the disk is full",
        2,
        "earlier checkpoints; the new one is lost",
    ),
    Fault(
        "full disk: meta.json of a new checkpoint",
        disks.full_disk("meta.json"),
        "the disk is full",
        2,
        "earlier checkpoints; the new one is lost",
    ),
    Fault("full disk: history", disks.full_disk("history.csv"), "the disk is full", 2, ALL),
    Fault("full disk: page of images", disks.full_disk("index.html"), "the disk is full", 2, ALL),
    Fault(
        "full disk: TensorBoard's curves",
        disks.full_disk_for_curves,
        "the disk is full",
        2,
        ALL,
    ),
    Fault("full disk at the start", disks.full_disk("config.yaml"), "the disk is full", 2, ALL),
    Fault(
        "file size limit below the training state",
        disks.largest_file,
        "could not be written",
        2,
        "earlier checkpoints; the new one is lost",
    ),
    Fault("read-only work directory", disks.read_only, "permission denied", 2, ALL),
    Fault(
        "read-only work directory with the lock of a killed run",
        disks.read_only_with_a_lock,
        "the lock of a run that has ended",
        2,
        ALL,
    ),
    Fault(
        "checkpoints on a disk that is not mounted",
        disks.unmounted_disk,
        "checkpoints is a link to a path that does not exist",
        2,
        ALL,
    ),
    Fault("a file in place of the work directory", disks.file_in_the_way, "Cannot", 2, ALL),
    Fault("lock of a killed run", planting.dead_owner, "", 0, NOTHING),
    Fault("lock damaged", planting.replaced(LOCK, "{"), "", 0, NOTHING),
    Fault(
        "two runs in one work directory",
        planting.living_owner,
        "is in use by another run",
        2,
        "the first run continues",
    ),
    Fault(
        "work directory taken over by another run",
        planting.taken_over(0.02),
        "was taken over by another run",
        2,
        "all checkpoints; the other run continues",
    ),
    Fault(
        "work directory taken over while this run was suspended",
        planting.taken_over(3600.0),
        "was taken over by another run",
        2,
        "all checkpoints; the other run continues",
    ),
    Fault("shard missing at the start", planting.removed(Site.shard), "train-0000", 2, ALL),
    Fault(
        "shard missing in the middle of an epoch",
        planting.before_reading(pathlib.Path.unlink),
        "train-0000",
        2,
        ALL,
    ),
    Fault("damaged record", planting.damaged_record, "is damaged at record", 2, ALL),
    Fault(
        "shard without its last record in the middle of an epoch",
        planting.before_reading(planting.last_record_lost),
        "train-0000",
        2,
        ALL,
    ),
    Fault("manifest of the data cut off", planting.damaged_manifest, "manifest.json", 2, ALL),
    Fault(
        "manifest of the data missing",
        planting.removed(lambda site: site.data / "manifest.json"),
        "manifest.json",
        2,
        ALL,
    ),
    Fault(
        "NaN batch: stop",
        planting.nan_batch,
        "generator/loss, generator/mse, generator/gradient_norm is not finite",
        2,
        ALL,
    ),
    Fault(
        "NaN batch: skip",
        planting.nan_batch,
        "skipped 1 step before",
        0,
        "all steps except that one",
        flags=("--guards.on-nonfinite", "skip"),
        changes_weights=True,
    ),
    Fault(
        "NaN batch: rollback, without success",
        planting.nan_batch,
        "was rolled back 1 time before",
        2,
        ALL,
        flags=("--guards.on-nonfinite", "rollback", "--guards.max-rollbacks", "1"),
        changes_weights=True,
        messages=2,
    ),
    Fault(
        "weights overflow in an update",
        lambda site: lambda: None,
        "weights of the generator are not finite",
        2,
        ALL,
        flags=("--optimizer.learning-rate", "1e39", "--save-every", "1 steps"),
    ),
    Fault(
        "out of memory in a step", planting.no_memory, "Out of memory in a training step", 2, ALL
    ),
    Fault(
        "SIGTERM while training",
        planting.signalled(signal.SIGTERM),
        "Stopped; saved",
        143,
        NOTHING,
    ),
    Fault(
        "SIGINT while training",
        planting.signalled(signal.SIGINT),
        "Stopped; saved",
        130,
        NOTHING,
    ),
    Fault("clock set back again and again", planting.clock_goes_back, "", 0, NOTHING),
)


def build(folder: pathlib.Path) -> None:
    """Writes the data, an undisturbed run, and the unfinished run that faults are injected into."""
    write_data_set(str(folder / "data"))
    patch = pytest.MonkeyPatch()
    site = Site(folder, patch)
    for steps, name in ((GOAL, "whole"), (FINISHED, None)):
        code, output = site.train(steps=steps)
        if code:
            raise RuntimeError(output)
        if name:
            site.run.rename(folder / name)


@contextlib.contextmanager
def site_of(template: pathlib.Path, folder: pathlib.Path) -> Iterator[Site]:
    """Copies the template for one fault."""
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("data", "run"):
        shutil.copytree(template / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        yield Site(folder, patch)


HEADER = """# Faults and their cost

Each fault is injected into a run with two finished checkpoints, and the command is run again. It
prints one message, and finished work is kept. With exit code 0, the run continued by itself. After
any other exit code the fault is fixed and the same command is run once more. The final weights then
equal those of an undisturbed run, bit for bit, unless the fault is meant to change them.

`tests/tfdeblur/test_faults.py` tests every row; `python -m tests.helpers.faults` (extra `dev`)
prints this page.
Workers that die are tested with real processes under TensorFlow (`tests/tfdeblur/test_workers.py`):
the others print a message and exit with code 75. `python -m benchmarks.kill_test
--data data/cifar10 --out kills` kills a real run at random, again and again: after each of three
series of 50 kills of a WGAN-GP run (REDNet at depth 10, 400 steps, a checkpoint every second step),
every array of the last checkpoint was equal to the undisturbed run's. 14 of these 150 kills hit a
checkpoint that was being written.

"""


def markdown() -> str:
    """Returns the table."""
    lines = ["| fault | message | exit code | kept |", "| --- | --- | --- | --- |"]
    for fault in FAULTS:
        message = f"... {fault.message} ..." if fault.message else "none needed"
        lines.append(f"| {fault.name} | {message} | {fault.code} | {fault.kept} |")
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
