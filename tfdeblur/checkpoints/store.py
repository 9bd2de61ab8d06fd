"""Checkpoints: the newest few to go on from, and the best one to use.

A work directory holds::

    config.yaml                      the resolved configuration
    checkpoints/000000004096/        named by the images seen
        state.index, state.data-*    everything training needs (tf.train.Checkpoint)
        generator.weights.h5         the generator alone, averaged weights where there are some
        meta.json                    written last: without it the folder is not a checkpoint
    checkpoints/000000002048.damaged/  one that was found damaged; nothing uses it
    best/000000004096/               the same without the training state, of the best validation

A checkpoint is written into its folder and becomes one by its ``meta.json`` (`checkpoint_meta`).
What a killed process left behind is swept away later (`keeping`).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import tensorflow as tf
from tqdm import tqdm

from tfdeblur.checkpoints.manifest import (
    FORMAT_VERSION,
    read_meta,
    write_meta,
)
from tfdeblur.checkpoints.retention import Shelf, put_aside
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS, write_weights
from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files
from tfdeblur.models.generator import Generator

STATE = "state"


class SavedState(Protocol):
    """What the store needs of a run's state; `training.state.TrainingState` has it."""

    generator: Generator
    epoch_images: int

    @property
    def images_seen(self) -> int:
        """Images that went into updates so far."""

    @property
    def average(self) -> Sequence[Any]:
        """Averaged weights; empty if the run keeps none."""

    def averaged(self) -> AbstractContextManager[None]:
        """Puts the averaged weights into the generator while the block runs."""

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns everything that training needs to resume."""


class DirectoryLock(Protocol):
    """A run's hold on its work directory."""

    def look(self) -> None:
        """Raises a UserError if the directory now belongs to another run."""


class CheckpointStore:
    """The checkpoints of one work directory.

    Args:
        workdir: The run's folder.
        keep: How many of the newest checkpoints stay, or `all` of them.
        lock: The run's hold on the directory, looked at right before something is written or
            removed.
        notes: What new checkpoints say of themselves beside what they always do.
    """

    def __init__(
        self,
        workdir: str,
        keep: int | Literal["all"],
        lock: DirectoryLock | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = files.join(workdir, CHECKPOINTS)
        self._shelf = Shelf(self._folder)
        self._best = Shelf(files.join(workdir, BEST))
        self._keep = keep
        self._lock = lock
        self._notes = dict(notes or {})

    def images(self) -> list[int]:
        """Returns the image counts of all checkpoints, oldest first."""
        return self._shelf.images()

    def path(self, images: int) -> str:
        """Returns the folder of the checkpoint at a count of images."""
        return self._shelf.path(images)

    def save(self, state: SavedState, metrics: Mapping[str, float]) -> str:
        """Writes a checkpoint of now and removes those past `keep`; returns its folder."""
        images = state.images_seen
        self._look()
        if self._shelf.verified(images):
            return self.path(images)
        # A smaller `keep` makes room for this one. What hinders it is told after the save.
        with contextlib.suppress(UserError):
            self._shelf.sweep(images, self._keep)
        with _told_of(self.path(images)), self._shelf.writing(images) as folder:
            state.checkpoint().write(files.join(folder, STATE))
            with state.averaged():
                write_weights(folder, state.generator)
            write_meta(folder, {**self._notes, **_about(state, metrics)})
        self._look()
        self._shelf.sweep(images, self._keep)
        return folder

    def save_best(self, state: SavedState, metrics: Mapping[str, float]) -> None:
        """Writes the weights of now as the best ones, then removes those that were the best."""
        images = state.images_seen
        self._look()
        with _told_of(self._best.path(images)), self._best.writing(images) as folder:
            with state.averaged():
                write_weights(folder, state.generator)
            write_meta(folder, {**self._notes, **_about(state, metrics)})
        self._look()
        self._best.keep_only(images)

    def best_metrics(self) -> dict[str, float]:
        """Returns the metrics of the best weights, or nothing where there are none yet.

        Damaged ones are put aside, so that the next validation writes new ones.
        """
        folder, damage = self._best.newest_whole()
        for found in damage:
            self._look()
            put_aside(found, "" if folder else "The next validation writes new best weights.")
        return dict(read_meta(folder)["metrics"]) if folder else {}

    def restore_latest(self, state: SavedState, aside: bool = True) -> str | None:
        """Restores the newest whole checkpoint into a freshly built state.

        Args:
            state: Takes the values.
            aside: Put damaged ones after it aside; else they are passed over where they are, which
                is for workers that own nothing. Either is told with the name of the file.

        Returns:
            Its folder, or None where the run has none yet.

        Raises:
            DataError: All are damaged, or the state has other variables than the checkpoint, or
                another version wrote it.
            UserError: A file cannot be read, which is no damage: nothing is passed over then.
        """
        folder = self._newest_whole(aside)
        if folder is None:
            return None
        try:
            status = state.checkpoint().read(files.join(folder, STATE))
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            # When what was read so far is let go, TensorFlow would list every variable of it.
            tf.get_logger().setLevel("ERROR")
            # It goes on to print the values of the variables.
            reason = str(error).split(" Showing ")[0].strip().rstrip(".")
            raise DataError(
                f"The checkpoint {folder} does not fit this run: {reason}. Another optimizer.name, "
                "or training.ema_decay given where there was none, does that. Continue with the "
                "version and configuration that wrote it, or choose another --workdir."
            ) from error
        return folder

    def _look(self) -> None:
        """Raises a UserError where the directory has become another run's."""
        if self._lock is not None:
            self._lock.look()

    def _newest_whole(self, aside: bool) -> str | None:
        folder, damage = self._shelf.newest_whole()
        if folder is None and damage:
            raise DataError(
                f"{damage[0].finding} No checkpoint in {self._folder} is whole. Put a whole one "
                "there, or remove that folder to begin anew; best weights stay."
            )
        for found in damage:
            if aside:
                self._look()
                put_aside(found)
            else:
                tqdm.write(f"warning: {found.finding} It is passed over.")
        return folder


def _about(state: SavedState, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Returns what a checkpoint says of the run."""
    generator = state.generator
    return {
        "format": FORMAT_VERSION,
        "images": state.images_seen,
        # Turns images into epochs for those who read it; the clock itself counts images.
        "epoch_images": state.epoch_images,
        "model": {"name": generator.name, **generator.options},
        "averaged": bool(state.average),
        # JSON knows no NaN, which a PSNR is where blurred images equal their truth.
        "metrics": {n: float(value) for n, value in metrics.items() if math.isfinite(value)},
    }


@contextlib.contextmanager
def _told_of(folder: str) -> Iterator[None]:
    """Explains why a checkpoint could not be written."""
    try:
        yield
    except (tf.errors.OpError, OSError, RuntimeError, UserError) as error:
        raise UserError(
            f"The checkpoint {folder} could not be written: {_reason(error)}. Earlier "
            "checkpoints are whole; free some space (a smaller --keep does) and run the same "
            "command again to go on from them."
        ) from error


def _reason(error: Exception) -> str:
    """Returns the first line of what an error says; TensorFlow's go on with the graph."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return text.strip().split("\n")[0].rstrip(".")
