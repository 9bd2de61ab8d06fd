"""Checkpoint retention: deletes old checkpoints, named by image count.

Only folders that a run itself makes are deleted: those named by 12 digits, and their unfinished
remains after a kill. A damaged checkpoint is renamed. An intact one is deleted only after enough
newer ones have been verified on disk. One that is being replaced by another of its count is renamed
and counts until that one is complete, so a kill at any moment leaves one of the two.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Literal

from tqdm import tqdm

from tfdeblur.checkpoints.manifest import (
    META,
    Damaged,
    checkpoint_name,
    image_count,
    is_checkpoint,
    path_exists,
    verify_checkpoint,
)
from tfdeblur.io import files

# Marks in the names of damaged checkpoints, and of those that are being replaced.
DAMAGED = "damaged"
_REPLACED = "before"

# Every file that a run writes into the folder of a checkpoint; the second line is format 1,
# with the temporary files of TensorFlow.
_WRITTEN = re.compile(
    r"meta\.json|(generator|state|critics)\.safetensors|.*\.partial"
    r"|generator\.weights\.h5|state\.(index|data-\d+-of-\d+)|state_temp/.*"
    r"|state\.data-.*tempstate.*"
)


def list_checkpoints(folder: str) -> list[int]:
    """Returns the image counts of the checkpoints in a folder, oldest first.

    Their files are not verified.

    Raises:
        UserError: The folder, or one in it, is inaccessible.
    """
    if not path_exists(folder):
        return []
    counts = {_count_in(name) for name in files.list_dir(folder)}
    return sorted(
        count
        for count in counts
        if count is not None and is_checkpoint(checkpoint_path(folder, count))
    )


def checkpoint_path(folder: str, images: int) -> str:
    """Returns the folder of the checkpoint at a count of images.

    While it is being replaced, this is the former one.
    """
    path = files.join(folder, checkpoint_name(images))
    replaced = _sibling(path, _REPLACED)
    return replaced if not is_checkpoint(path) and is_checkpoint(replaced) else path


class CheckpointFolder:
    """A folder of checkpoints.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        # Counts of the checkpoints that this process has written or verified.
        self._intact: set[int] = set()

    def path(self, images: int) -> str:
        """Returns the folder of the checkpoint at a count of images."""
        return checkpoint_path(self._folder, images)

    def images(self) -> list[int]:
        """Returns the image counts of all checkpoints, oldest first."""
        return list_checkpoints(self._folder)

    def newest_intact(self) -> tuple[str | None, list[Damaged]]:
        """Finds the newest intact checkpoint.

        Returns:
            Its folder, or None if none is intact, and the damaged ones after it, newest first.

        Raises:
            DataError: One has a format that this version does not read.
            UserError: One cannot be read.
        """
        damage: list[Damaged] = []
        for count in reversed(self.images()):
            try:
                verify_checkpoint(self.path(count))
            except Damaged as error:
                damage.append(error)
                continue
            self._intact.add(count)
            return self.path(count), damage
        return None, damage

    def verify(self, images: int) -> bool:
        """Returns whether there is an intact checkpoint; sets a damaged one aside."""
        folder = self.path(images)
        if not is_checkpoint(folder):
            return False
        try:
            verify_checkpoint(folder)
        except Damaged as error:
            set_aside(error)
            return False
        return True

    @contextlib.contextmanager
    def writing(self, images: int) -> Iterator[str]:
        """Yields an empty folder for a new checkpoint.

        A checkpoint of the same name is removed after the block, and restored if it raises.
        """
        folder = files.join(self._folder, checkpoint_name(images))
        replaced = _sibling(folder, _REPLACED)
        if is_checkpoint(folder):
            _clear(replaced)
            _move(folder, replaced)
        else:
            _clear(folder)
        files.make_dirs(folder)
        self._intact.discard(images)
        try:
            yield folder
        except BaseException:
            # The first error is the one to report, so errors of the cleanup are ignored; its
            # remains are no checkpoint, and a later `prune` deletes them.
            with contextlib.suppress(Exception):
                _clear(folder)
                if path_exists(replaced):
                    _move(replaced, folder)
            raise
        _clear(replaced)
        self._intact.add(images)

    def prune(self, images: int, keep: int | Literal["all"]) -> None:
        """Deletes surplus checkpoints, and the unfinished ones of killed processes.

        Args:
            images: The run's present count; checkpoints after it stay.
            keep: How many of the newest intact checkpoints up to that count stay.
        """
        for name in self._own_names():
            if not is_checkpoint(files.join(self._folder, name)):
                _clear(files.join(self._folder, name))
        counts = [count for count in reversed(self.images()) if count <= images]
        if keep == "all" or len(counts) <= keep:
            return
        intact = 0
        for count in counts:
            if intact >= keep:
                self._intact.discard(count)
                _remove(self.path(count))
            elif count in self._intact or self.verify(count):
                self._intact.add(count)
                intact += 1

    def keep_only(self, images: int) -> None:
        """Deletes all checkpoints except the one at `images`, which was just written."""
        for name in self._own_names():
            if name != checkpoint_name(images):
                _remove(files.join(self._folder, name))

    def _own_names(self) -> list[str]:
        """Returns the names of the folders here that a run makes."""
        if not path_exists(self._folder):
            return []
        return [
            name
            for name in files.list_dir(self._folder)
            if _count_in(name) is not None and files.is_dir(files.join(self._folder, name))
        ]


def set_aside(damage: Damaged, note: str = "") -> None:
    """Renames a damaged checkpoint, so that it is never used, counted or deleted, and warns.

    Args:
        damage: The damage found.
        note: A further sentence for the warning.
    """
    target = _sibling(damage.folder, DAMAGED)
    number = 1
    while path_exists(target):
        number += 1
        target = _sibling(damage.folder, f"{DAMAGED}-{number}")
    _move(damage.folder, target)
    renamed = f"The checkpoint was renamed to {target}, which is never used."
    tqdm.write(f"warning: {damage.finding} {renamed} {note}".rstrip())


def _sibling(folder: str, mark: str) -> str:
    """Returns another name for a checkpoint's folder."""
    if folder.startswith("ram://"):
        # That file system takes files whose path begins alike for content of the folder.
        return files.join(files.parent(folder), f"{mark}-{files.base_name(folder)}")
    return f"{folder}.{mark}"


def _count_in(name: str) -> int | None:
    """Returns the count in the name of a checkpoint, or of one that is being replaced."""
    return image_count(name.removesuffix(f".{_REPLACED}").removeprefix(f"{_REPLACED}-"))


def _move(source: str, target: str) -> None:
    if files.is_local(source):
        files.rename(source, target)
        return
    # Not all of TensorFlow's file systems move the content of a folder. Copied, since after a kill
    # one of the two must be complete.
    files.copy_tree(source, target)
    files.remove(files.join(source, META))
    files.remove_tree(source)


def _remove(folder: str) -> None:
    # The manifest goes first: the remains after a kill are then not a damaged checkpoint.
    files.remove(files.join(folder, META))
    _clear(folder)


def _clear(folder: str) -> None:
    """Deletes the files of a checkpoint; other files in its folder stay."""
    if not path_exists(folder):
        return
    names = files.walk_files(folder)
    if all(_WRITTEN.fullmatch(name) for name in names):
        files.remove_tree(folder)
        return
    for name in filter(_WRITTEN.fullmatch, names):
        files.remove(files.join(folder, name))
