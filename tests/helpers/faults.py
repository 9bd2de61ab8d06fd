"""The table of faults: what is planted into a run, what it says, and what is kept.

``python -m tests.helpers.faults`` prints it as ``docs/faults.md``; `test_faults` plants them all.
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
        name: What is planted.
        plant: Plants it; what it returns takes it away again, where going on needs that.
        says: Part of the one message; empty where nothing needs to be said.
        code: Exit code of the command: 0 where it goes on by itself.
        kept: What is lost and what is not.
        words: Further words of the command.
        unlike: The weights at the end are others than those of an undisturbed run, with reason.
        messages: How many messages there are; the last one is `says`.
    """

    name: str
    plant: Callable[[Site], Callable[[], object] | None]
    says: str
    code: int
    kept: str
    words: tuple[str, ...] = ()
    unlike: bool = False
    messages: int = 1


EARLIER = "goes on from the checkpoint before; the damaged one is put aside"
ALL = "all checkpoints; the same command goes on"
NOTHING = "nothing is lost"


FAULTS = (
    Fault(
        "newest checkpoint: index cut off",
        planting.in_newest("state.index", planting.cut),
        "state.index is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: one bit of the training state changed",
        planting.in_newest("state.data-00000-of-00001", planting.flip),
        "state.data-00000-of-00001 is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: training state missing",
        planting.in_newest("state.data-00000-of-00001", pathlib.Path.unlink),
        "is missing",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: one bit of the weights changed",
        planting.in_newest("generator.weights.h5", planting.flip),
        "generator.weights.h5 is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: weights missing",
        planting.in_newest("generator.weights.h5", pathlib.Path.unlink),
        "generator.weights.h5 is missing",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: description cut off",
        planting.in_newest("meta.json", planting.cut),
        "meta.json is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: description empty after a power cut",
        planting.in_newest("meta.json", planting.empty),
        "meta.json is damaged",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: description without a list of files",
        planting.described(files=None),
        "meta.json is damaged (files: ",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: a score changed in the description",
        planting.another_score,
        "it does not agree with its own checksum",
        0,
        EARLIER,
    ),
    Fault(
        "newest checkpoint: description cannot be read (rights, network)",
        planting.unreadable(lambda site: site.newest("meta.json")),
        "meta.json: permission denied",
        2,
        ALL,
    ),
    Fault(
        "newest checkpoint: training state cannot be read (rights, network)",
        planting.unreadable(lambda site: site.newest("state.index")),
        "state.index: permission denied",
        2,
        ALL,
    ),
    Fault(
        "killed before a checkpoint was whole",
        planting.in_newest("meta.json", pathlib.Path.unlink),
        "",
        0,
        "goes on from the checkpoint before; the rest is swept away",
    ),
    Fault(
        "newest checkpoint: written by a later version",
        planting.described(format=99),
        "has checkpoint format 99",
        2,
        "all checkpoints; the version that wrote it goes on",
    ),
    Fault(
        "all checkpoints damaged",
        planting.all_checkpoints,
        "state.index is damaged",
        2,
        "best weights; begins anew when the checkpoints are removed",
    ),
    Fault(
        "best weights damaged",
        planting.best,
        "The next validation writes new best weights",
        0,
        "the next validation writes new ones; the damaged ones are put aside",
    ),
    Fault(
        "best weights: description cannot be read (rights, network)",
        planting.unreadable(planting.best_description),
        "meta.json: permission denied",
        2,
        ALL,
    ),
    Fault(
        "somebody's folders among the checkpoints",
        planting.somebodys_folders,
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
        "another model asked for",
        lambda site: lambda: None,
        "belongs to a run with model",
        2,
        ALL,
        words=("--model.width", "8"),
    ),
    Fault(
        "another optimizer asked for",
        lambda site: lambda: None,
        "does not fit this run",
        2,
        ALL,
        words=("--optimizer.name", "rmsprop"),
    ),
    Fault(
        "history damaged",
        planting.damaged_history,
        "history.csv is damaged",
        0,
        "its good rows; the damaged file is put aside",
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
        disks.full_disk("generator.weights.h5"),
        "the disk is full",
        2,
        "earlier checkpoints; the new one is lost",
    ),
    Fault(
        "full disk: description of a new checkpoint",
        disks.full_disk("meta.json"),
        "the disk is full",
        2,
        "earlier checkpoints; the new one is lost",
    ),
    Fault("full disk: history", disks.full_disk("history.csv"), "the disk is full", 2, ALL),
    Fault("full disk: page of pictures", disks.full_disk("index.html"), "the disk is full", 2, ALL),
    Fault(
        "full disk: TensorBoard's curves",
        disks.full_disk_for_curves,
        "Cannot write TensorBoard's curves",
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
    Fault("work directory read-only", disks.read_only, "permission denied", 2, ALL),
    Fault(
        "work directory read-only, with the lock of a killed run",
        disks.read_only_with_a_lock,
        "the lock of a run that has ended",
        2,
        ALL,
    ),
    Fault(
        "folder of checkpoints on a disk that is not mounted",
        disks.disk_that_is_not_there,
        "checkpoints is a link to what does not exist: is the disk there",
        2,
        ALL,
    ),
    Fault("a file where the work directory was", disks.file_in_the_way, "Cannot", 2, ALL),
    Fault("lock of a killed run", planting.dead_owner, "", 0, NOTHING),
    Fault("lock damaged", planting.replaced(LOCK, "{"), "", 0, NOTHING),
    Fault(
        "two runs in one work directory",
        planting.living_owner,
        "is in use by another run",
        2,
        "the first run goes on undisturbed",
    ),
    Fault(
        "work directory taken over by another run meanwhile",
        planting.taken_over(0.02),
        "was taken over by another run",
        2,
        "all checkpoints; the other run goes on",
    ),
    Fault(
        "work directory taken over while this run was asleep, right before it saves",
        planting.taken_over(3600.0),
        "was taken over by another run",
        2,
        "all checkpoints; the other run goes on",
    ),
    Fault("shard missing at the start", planting.removed(Site.shard), "train-0000", 2, ALL),
    Fault(
        "shard missing in mid-epoch",
        planting.before_reading(pathlib.Path.unlink),
        "train-0000",
        2,
        ALL,
    ),
    Fault("record damaged in the middle", planting.damaged_record, "is damaged at record", 2, ALL),
    Fault(
        "shard that lost its last record in mid-epoch",
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
        "had no effect",
        0,
        "all steps but that one",
        words=("--guards.on-nonfinite", "skip"),
        unlike=True,
    ),
    Fault(
        "NaN batch: roll back, in vain",
        planting.nan_batch,
        "has gone back 1 times already",
        2,
        ALL,
        words=("--guards.on-nonfinite", "rollback", "--guards.most-rollbacks", "1"),
        unlike=True,
        messages=2,
    ),
    Fault(
        "weights overflow in an update",
        lambda site: lambda: None,
        "weights of the generator are not finite",
        2,
        ALL,
        words=("--optimizer.learning-rate", "1e39", "--save-every", "1 steps"),
    ),
    Fault(
        "out of memory in a step", planting.no_memory, "Out of memory in a training step", 2, ALL
    ),
    Fault(
        "SIGTERM while training",
        planting.told_to_stop(signal.SIGTERM),
        "Stopped; saved",
        143,
        NOTHING,
    ),
    Fault(
        "SIGINT while training",
        planting.told_to_stop(signal.SIGINT),
        "Stopped; saved",
        130,
        NOTHING,
    ),
    Fault("clock put back again and again", planting.clock_goes_back, "", 0, NOTHING),
)


def build(folder: pathlib.Path) -> None:
    """Writes the data, an undisturbed run, and the unfinished one that faults are planted into."""
    write_data_set(str(folder / "data"))
    patch = pytest.MonkeyPatch()
    site = Site(folder, patch)
    for steps, name in ((GOAL, "whole"), (FINISHED, None)):
        code, said = site.train(steps=steps)
        if code:
            raise RuntimeError(said)
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


HEADER = """# Faults and what they cost

Each row is planted into a run that has finished two checkpoints, and the command is run again. It
says one thing, and what was finished is kept. Exit code 0: the run went on by itself. After the
others the fault is taken away, the same command runs once more, and the weights at the end equal
those of an undisturbed run, bit for bit, unless the fault is meant to change them.

`tests/tfdeblur/test_faults.py` does all of it; `python -m tests.helpers.faults` (extra `dev`)
prints this page.
Workers that die are tested with real processes (`tests/tfdeblur/test_workers.py`): the others leave
with exit code 75 and say so. `python -m benchmarks.kill_test` kills a real run at random, again and
again: after 50 kills of a WGAN-GP run (REDNet at depth 10, 400 steps, a checkpoint every second
step), and after 50 more of the same run, and after 50 more again, every array of the last
checkpoint was equal to the undisturbed run's. 14 of these 150 kills hit a checkpoint that was being
written.

"""


def markdown() -> str:
    """Returns the table."""
    lines = ["| fault | message | exit code | kept |", "| --- | --- | --- | --- |"]
    for fault in FAULTS:
        says = f"... {fault.says} ..." if fault.says else "none is needed"
        lines.append(f"| {fault.name} | {says} | {fault.code} | {fault.kept} |")
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
