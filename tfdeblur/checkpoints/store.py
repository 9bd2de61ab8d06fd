"""The checkpoints of a run: the newest few to resume from, and the best one to use.

A work directory holds::

    config.yaml                      the resolved configuration
    checkpoints/000000004096/        named by the images seen
        state.safetensors            the training state as named arrays
        generator.safetensors        the generator alone, averaged weights if the run keeps some
        meta.json                    written last: without it the folder is not a checkpoint
    checkpoints/000000002048.damaged/  a damaged one, which is never used
    best/000000004096/               the best validation's, without the training state
        critics.safetensors          if the run has a critic: it scores images in evaluation
    best/000000004096.before/        one of the same count, until the new one is complete

A checkpoint is written in its own folder, and ``meta.json`` completes it (`manifest`). Unfinished
ones of killed processes are deleted later (`retention`).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from tfdeblur.checkpoints.arrays import ArrayMismatch, read_arrays, write_arrays
from tfdeblur.checkpoints.manifest import (
    CRITICS,
    FORMAT_VERSION,
    STATE,
    STATE_FORMAT_1,
    read_meta,
    write_meta,
)
from tfdeblur.checkpoints.retention import CheckpointFolder, set_aside
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS, write_weights
from tfdeblur.errors import DataError, UserError, reason_of
from tfdeblur.io import files

if TYPE_CHECKING:
    from tfdeblur.training.resilience.lock import WorkdirLock
    from tfdeblur.training.state import TrainingState


class CheckpointStore:
    """The checkpoints of one work directory.

    Args:
        workdir: The work directory.
        keep: How many checkpoints stay, or all of them.
        lock: If given, checked before anything is written or deleted.
        notes: Further entries of every ``meta.json``, such as the identity of the data.
    """

    def __init__(
        self,
        workdir: str,
        keep: int | Literal["all"],
        lock: "WorkdirLock | None" = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = files.join(workdir, CHECKPOINTS)
        self._checkpoints = CheckpointFolder(self._folder)
        self._best = CheckpointFolder(files.join(workdir, BEST))
        self._keep = keep
        self._lock = lock
        self._notes = dict(notes or {})

    def images(self) -> list[int]:
        """Returns the image counts of all checkpoints, oldest first."""
        return self._checkpoints.images()

    def path(self, images: int) -> str:
        """Returns the folder of the checkpoint at a count of images."""
        return self._checkpoints.path(images)

    def save(self, state: "TrainingState", metrics: Mapping[str, float]) -> str:
        """Writes a checkpoint and deletes those beyond `keep`; returns its folder.

        Raises:
            UserError: It cannot be written; earlier checkpoints stay.
        """
        images = state.images_seen
        self._check_lock()
        if self._checkpoints.verify(images):
            return self.path(images)
        # A smaller `keep` makes room for this one; an error is raised by the call after the save.
        with contextlib.suppress(UserError):
            self._checkpoints.prune(images, self._keep)
        with self._writing(self._checkpoints, state, metrics) as folder:
            write_arrays(files.join(folder, STATE), state.arrays())
        self._check_lock()
        self._checkpoints.prune(images, self._keep)
        return folder

    def save_best(self, state: "TrainingState", metrics: Mapping[str, float]) -> None:
        """Writes the present weights as the best ones, then deletes the previous best.

        Raises:
            UserError: They cannot be written; the previous ones stay.
        """
        self._check_lock()
        with self._writing(self._best, state, metrics) as folder:
            if critics := state.critic_arrays():
                write_arrays(files.join(folder, CRITICS), critics)
        self._check_lock()
        self._best.keep_only(state.images_seen)

    @contextlib.contextmanager
    def _writing(
        self, place: CheckpointFolder, state: "TrainingState", metrics: Mapping[str, float]
    ) -> Iterator[str]:
        """Yields a new checkpoint's folder; adds weights and manifest after the block."""
        images = state.images_seen
        try:
            with place.writing(images) as folder:
                yield folder
                with state.averaged():
                    write_weights(folder, state.generator)
                write_meta(folder, {**self._notes, **_about(state, metrics)})
        except (OSError, RuntimeError, UserError) as error:
            raise UserError(
                f"The checkpoint {place.path(images)} could not be written: {reason_of(error)}. "
                "Earlier checkpoints are intact; free some space (a smaller --keep does) and run "
                "the same command again to resume from them."
            ) from error

    def best_metrics(self) -> dict[str, float]:
        """Returns the metrics of the best weights; empty if there are none yet.

        Damaged ones are set aside, so that the next validation writes new ones.
        """
        folder, damage = self._best.newest_intact()
        for found in damage:
            self._check_lock()
            set_aside(found, "" if folder else "The next validation writes new best weights.")
        return dict(read_meta(folder)["metrics"]) if folder else {}

    def restore_latest(self, state: "TrainingState", aside: bool = True) -> str | None:
        """Restores the newest intact checkpoint into a newly built state.

        Args:
            state: Receives the values.
            aside: Whether to rename damaged checkpoints newer than the restored one. Workers that
                own no files pass False and skip them. Either way a warning names the file.

        Returns:
            Its folder, or None if the run has no checkpoint yet.

        Raises:
            DataError: All are damaged, one has a format that this version does not read, or the
                checkpoint does not fit the state.
            UserError: A file cannot be read. That is not damage, so nothing is skipped.
        """
        folder = self._newest_intact(aside)
        if folder is None:
            return None
        try:
            if read_meta(folder)["format"] == 1:
                state.load_format_1(files.join(folder, STATE_FORMAT_1))
            else:
                state.load_arrays(read_arrays(files.join(folder, STATE)))
        except ArrayMismatch as error:
            raise DataError(
                f"The checkpoint {folder} does not fit this run: {error}. A different "
                "optimizer.name, or training.ema_decay set where it was unset, causes that. "
                "Resume with the version and configuration that wrote it, or choose another "
                "--workdir."
            ) from error
        return folder

    def _check_lock(self) -> None:
        """Raises a UserError if the directory now belongs to another run."""
        if self._lock is not None:
            self._lock.look()

    def _newest_intact(self, aside: bool) -> str | None:
        folder, damage = self._checkpoints.newest_intact()
        if folder is None and damage:
            raise DataError(
                f"{damage[0].finding} No checkpoint in {self._folder} is intact. Put an intact one "
                "there, or remove that folder to start from scratch; best weights stay."
            )
        for found in damage:
            if aside:
                self._check_lock()
                set_aside(found)
            else:
                tqdm.write(f"warning: {found.finding} It is skipped.")
        return folder


def _about(state: "TrainingState", metrics: Mapping[str, float]) -> dict[str, Any]:
    """Returns the entries of ``meta.json`` that describe the run."""
    generator = state.generator
    return {
        "format": FORMAT_VERSION,
        "images": state.images_seen,
        # For readers that show epochs; the run's clock itself counts images.
        "epoch_images": state.epoch_images,
        "model": {"name": generator.name, **generator.options},
        "averaged": bool(state.average),
        # JSON has no NaN, which is the PSNR if blurred images equal their targets.
        "metrics": {n: float(value) for n, value in metrics.items() if math.isfinite(value)},
    }
