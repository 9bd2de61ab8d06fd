"""Which checkpoints stay: folders of them, by the count of images in their names.

Only what a run itself makes is ever removed: folders named by 12 digits, and what it leaves of
them when it is killed. A damaged checkpoint is put aside under another name. A whole one is removed
only where enough other whole ones are known, which is looked at, not assumed.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Literal

from tqdm import tqdm

from tfdeblur.checkpoints.manifest import (
    META,
    Damaged,
    count_of,
    is_checkpoint,
    is_there,
    name_of,
    verify_checkpoint,
)
from tfdeblur.io import files

# Of a damaged checkpoint, and of one whose place is being written anew.
DAMAGED = "damaged"
_BEFORE = "before"

# Everything that a run, or TensorFlow for it, writes into the folder of a checkpoint.
_WRITTEN = re.compile(
    r"meta\.json|generator\.weights\.h5|state\.(index|data-\d+-of-\d+)|state_temp/.*"
    r"|state\.data-.*tempstate.*|.*\.partial"
)


def list_checkpoints(folder: str) -> list[int]:
    """Returns the image counts of the checkpoints in a folder, oldest first.

    Whether their files are whole is not looked at.

    Raises:
        UserError: The folder, or one in it, cannot be looked at.
    """
    if not is_there(folder):
        return []
    counts = [count_of(name) for name in files.list_dir(folder)]
    return sorted(
        count
        for count in counts
        if count is not None and is_checkpoint(files.join(folder, name_of(count)))
    )


class Shelf:
    """Checkpoints that lie side by side in one folder.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        # Those that this process has written, or compared with their descriptions.
        self._whole: set[int] = set()

    def path(self, images: int) -> str:
        """Returns the folder of the checkpoint at a count of images."""
        return files.join(self._folder, name_of(images))

    def images(self) -> list[int]:
        """Returns the image counts of all checkpoints, oldest first."""
        return list_checkpoints(self._folder)

    def newest_whole(self) -> tuple[str | None, list[Damaged]]:
        """Returns the newest whole checkpoint, and what is wrong with those after it.

        Returns:
            Its folder, or None where none is whole, and the damage, newest first.

        Raises:
            DataError: One was written by another version.
            UserError: One cannot be read.
        """
        damage: list[Damaged] = []
        for count in reversed(self.images()):
            try:
                verify_checkpoint(self.path(count))
            except Damaged as error:
                damage.append(error)
                continue
            self._whole.add(count)
            return self.path(count), damage
        return None, damage

    def verified(self, images: int) -> bool:
        """Tells whether there is a checkpoint without damage; a damaged one is put aside."""
        folder = self.path(images)
        if not is_checkpoint(folder):
            return False
        try:
            verify_checkpoint(folder)
        except Damaged as error:
            put_aside(error)
            return False
        return True

    @contextlib.contextmanager
    def writing(self, images: int) -> Iterator[str]:
        """Gives an empty folder for a new checkpoint.

        A checkpoint of the same name is removed when the new one is whole, and is there again
        where the block raises.
        """
        folder = self.path(images)
        before = _beside(folder, _BEFORE)
        if is_checkpoint(folder):
            _clear(before)
            _move(folder, before)
        else:
            _clear(folder)
        files.make_dirs(folder)
        self._whole.discard(images)
        try:
            yield folder
        except BaseException:
            # It may fail as well, and the first error is the one to be told of; then what was
            # written is no checkpoint, and is swept away later.
            with contextlib.suppress(Exception):
                _clear(folder)
                if is_there(before):
                    _move(before, folder)
            raise
        _clear(before)
        self._whole.add(images)

    def sweep(self, images: int, keep: int | Literal["all"]) -> None:
        """Removes surplus checkpoints, and what killed processes left of unfinished ones.

        Args:
            images: Where the run stands; checkpoints after it are left alone.
            keep: How many whole ones up to there stay, the newest.
        """
        for name in self._own():
            if not is_checkpoint(files.join(self._folder, name)):
                _clear(files.join(self._folder, name))
        counts = [count for count in reversed(self.images()) if count <= images]
        if keep == "all" or len(counts) <= keep:
            return
        whole = 0
        for count in counts:
            if whole >= keep:
                self._remove(count)
            elif count in self._whole or self.verified(count):
                self._whole.add(count)
                whole += 1

    def keep_only(self, images: int) -> None:
        """Removes all but one checkpoint, which was just written."""
        for name in self._own():
            if name != name_of(images):
                _remove(files.join(self._folder, name))

    def _own(self) -> list[str]:
        """Returns the names in the folder that a run makes: nobody else's are touched."""
        if not is_there(self._folder):
            return []
        return [
            name
            for name in files.list_dir(self._folder)
            if _count_in(name) is not None and files.is_dir(files.join(self._folder, name))
        ]

    def _remove(self, images: int) -> None:
        self._whole.discard(images)
        _remove(self.path(images))


def put_aside(damage: Damaged, then: str = "") -> None:
    """Renames a damaged checkpoint, so that it is never used, counted or removed, and says so.

    Args:
        damage: What was found.
        then: A further sentence for the warning.
    """
    target = _beside(damage.folder, DAMAGED)
    number = 1
    while is_there(target):
        number += 1
        target = _beside(damage.folder, f"{DAMAGED}-{number}")
    _move(damage.folder, target)
    aside = f"The checkpoint was put aside as {target}, which nothing uses."
    tqdm.write(f"warning: {damage.finding} {aside} {then}".rstrip())


def _beside(folder: str, kind: str) -> str:
    """Returns another name for a checkpoint's folder."""
    if folder.startswith("ram://"):
        # There the files of a neighbor whose name begins alike would count as a folder's own.
        return files.join(files.parent(folder), f"{kind}-{files.base_name(folder)}")
    return f"{folder}.{kind}"


def _count_in(name: str) -> int | None:
    """Returns the count in the name of a checkpoint, or of one whose place is written anew."""
    return count_of(name.removesuffix(f".{_BEFORE}").removeprefix(f"{_BEFORE}-"))


def _move(source: str, target: str) -> None:
    if files.is_local(source):
        files.rename(source, target)
        return
    # Not all of TensorFlow's file systems move what is in a folder along with it. The description
    # goes last: what is left when that is cut short counts as damaged and is put aside again.
    for name in sorted(files.walk_files(source), key=lambda name: name == META):
        files.make_dirs(files.parent(files.join(target, name)))
        files.rename(files.join(source, name), files.join(target, name))
    files.remove_tree(source)


def _remove(folder: str) -> None:
    # The description goes first: what a killed process leaves is then no damaged checkpoint.
    files.remove(files.join(folder, META))
    _clear(folder)


def _clear(folder: str) -> None:
    """Removes the files of a checkpoint; what else lies in its folder stays."""
    if not is_there(folder):
        return
    names = files.walk_files(folder)
    if all(_WRITTEN.fullmatch(name) for name in names):
        files.remove_tree(folder)
        return
    for name in filter(_WRITTEN.fullmatch, names):
        files.remove(files.join(folder, name))
