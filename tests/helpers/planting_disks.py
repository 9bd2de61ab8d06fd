"""Faults of disks and folders; `planting` has all others, `faults` the table."""

import errno
import os
import resource
from collections.abc import Callable
from typing import Any

from tests.helpers.planting import BATCH, GOAL, Site, dead_owner
from tfdeblur.checkpoints.weights import CHECKPOINTS
from tfdeblur.io import files
from tfdeblur.training.resilience.lock import LOCK


def full_disk(name: str) -> Callable[[Site], Callable[[], object]]:
    """Makes the disk full for one file of the last checkpoint or of the work directory."""

    def plant(site: Site) -> Callable[[], object]:
        replace = os.replace
        folders = (site.run, site.run / CHECKPOINTS / f"{GOAL * BATCH:012d}")
        full = {str(folder / name) for folder in folders}

        def refused(source: str, target: str) -> None:
            if target in full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source)
            replace(source, target)

        site.patch.setattr(os, "replace", refused)
        return site.patch.undo

    return plant


def largest_file(site: Site) -> Callable[[], object]:
    """Limits files to 24 KiB, less than the training state of the run."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 << 10, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def read_only(site: Site) -> Callable[[], object]:
    """Makes the work directory read-only, for root too."""
    if os.geteuid() != 0:
        site.run.chmod(0o555)
        return lambda: site.run.chmod(0o755)
    nobody = 65534
    os.seteuid(nobody)
    return lambda: os.seteuid(0)


def read_only_with_a_lock(site: Site) -> Callable[[], object]:
    """Leaves the lock of a killed run on a disk that has become read-only."""
    dead_owner(site)
    rename = os.rename

    def refused(source: str, target: str) -> None:
        if source == str(site.run / LOCK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), source)
        rename(source, target)

    site.patch.setattr(os, "rename", refused)
    return site.patch.undo


def unmounted_disk(site: Site) -> Callable[[], object]:
    """Makes the folder of checkpoints a link to a disk that is not mounted."""
    place, disk = site.run / CHECKPOINTS, site.folder / "disk"
    place.rename(disk)
    place.symlink_to(site.folder / "not mounted")

    def mount() -> None:
        place.unlink()
        disk.rename(place)

    return mount


def full_disk_for_curves(site: Site) -> Callable[[], object]:
    """Makes the disk full for TensorBoard's curves."""

    def full(path: str, *arguments: Any) -> Any:
        # The file is created before the disk is full.
        if "events.out" in path and os.path.exists(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return open(path, *arguments)

    site.patch.setattr(files, "open", full, raising=False)
    return site.patch.undo


def file_in_the_way(site: Site) -> Callable[[], object]:
    """Replaces the work directory by a file."""
    aside = site.folder / "aside"
    site.run.rename(aside)
    site.run.write_text("")

    def fix() -> None:
        site.run.unlink()
        aside.rename(site.run)

    return fix
