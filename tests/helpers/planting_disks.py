"""Disks and folders that go wrong under a run; `planting` has all else, `faults` the table."""

import errno
import os
import resource
from collections.abc import Callable

import tensorflow as tf

from tests.helpers.planting import BATCH, GOAL, Site, dead_owner
from tfdeblur.checkpoints.weights import CHECKPOINTS
from tfdeblur.io import files
from tfdeblur.training.resilience.lock import LOCK


def full_disk(name: str) -> Callable[[Site], Callable[[], object]]:
    """Lets a file of the next checkpoint or of the work directory end in a full device."""

    def plant(site: Site) -> Callable[[], object]:
        make_dirs = files.make_dirs

        def make_and_plant(path: str) -> None:
            make_dirs(path)
            if path.endswith(f"{GOAL * BATCH:012d}") and CHECKPOINTS in path:
                os.symlink("/dev/full", f"{path}/{name}.partial")

        if name in ("history.csv", "config.yaml", "index.html"):
            partial = site.run / f"{name}.partial"
            partial.symlink_to("/dev/full")
            # What could not be written is removed by the run itself.
            return lambda: partial.unlink(missing_ok=True)
        site.patch.setattr(files, "make_dirs", make_and_plant)
        return site.patch.undo

    return plant


def largest_file(site: Site) -> Callable[[], object]:
    """Lets no file grow past 24 KiB: the training state of the run is larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 << 10, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def read_only(site: Site) -> Callable[[], object]:
    """Takes away the right to write into the work directory, from root as well."""
    if os.geteuid() != 0:
        site.run.chmod(0o555)
        return lambda: site.run.chmod(0o755)
    nobody = 65534
    os.seteuid(nobody)
    return lambda: os.seteuid(0)


def read_only_with_a_lock(site: Site) -> Callable[[], object]:
    """Leaves the lock of a killed run on a disk that became read-only since."""
    dead_owner(site)
    rename = os.rename

    def refused(source: str, target: str) -> None:
        if source == str(site.run / LOCK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), source)
        rename(source, target)

    site.patch.setattr(os, "rename", refused)
    return site.patch.undo


def disk_that_is_not_there(site: Site) -> Callable[[], object]:
    """Lets the folder of checkpoints be a link to a disk that is not mounted."""
    place, disk = site.run / CHECKPOINTS, site.folder / "disk"
    place.rename(disk)
    place.symlink_to(site.folder / "not mounted")

    def mount() -> None:
        place.unlink()
        disk.rename(place)

    return mount


def full_disk_for_curves(site: Site) -> Callable[[], object]:
    """Lets the disk be full when TensorFlow hands points of curves to it."""

    def full(name: str, value: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "events.out; No space left on device")

    site.patch.setattr(tf.summary, "scalar", full)
    return site.patch.undo


def file_in_the_way(site: Site) -> Callable[[], object]:
    """Puts a file where the work directory was."""
    aside = site.folder / "aside"
    site.run.rename(aside)
    site.run.write_text("")

    def mend() -> None:
        site.run.unlink()
        aside.rename(site.run)

    return mend
