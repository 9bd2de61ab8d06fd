"""Checkpoints: the newest few to go on from, and the best one to use.

A work directory holds::

    config.yaml                      the resolved configuration
    checkpoints/000000004096/        named by the images seen
        state.index, state.data-*    everything training needs (tf.train.Checkpoint)
        generator.weights.h5         the generator alone, averaged weights where there are some
        meta.json                    written last: without it the folder is not a checkpoint
    best/000000004096/               the same without the training state, of the best validation

A checkpoint is written into its folder and becomes one by its ``meta.json``, which carries the
size and the SHA-256 of every file. What a killed process left behind is swept away later.
"""

import contextlib
import errno
import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import tensorflow as tf
from tqdm import tqdm

from tfdeblur import files
from tfdeblur.errors import DataError, UserError
from tfdeblur.models import create
from tfdeblur.models._generator import Generator
from tfdeblur.training.state import TrainingState

FORMAT_VERSION = 1
CHECKPOINTS = "checkpoints"
BEST = "best"
META = "meta.json"
WEIGHTS = "generator.weights.h5"
STATE = "state"

# Bytes of one weight at most, and what HDF5 adds to an array at most.
_WIDEST = 4
_H5_OVERHEAD = 4096


class CheckpointStore:
    """The checkpoints of one work directory.

    Args:
        workdir: The run's folder.
        keep: How many of the newest checkpoints stay, or `all` of them.
    """

    def __init__(self, workdir: str, keep: int | Literal["all"]) -> None:
        self._folder = files.join(workdir, CHECKPOINTS)
        self._best = files.join(workdir, BEST)
        self._keep = keep

    def images(self) -> list[int]:
        """Returns the image counts of all whole checkpoints, oldest first."""
        return list_checkpoints(self._folder)

    def path(self, images: int) -> str:
        """Returns the folder of the checkpoint at a count of images."""
        return files.join(self._folder, f"{images:012d}")

    def save(self, state: TrainingState, metrics: Mapping[str, float]) -> str:
        """Writes a checkpoint of now and removes those past `keep`; returns its folder."""
        folder = self.path(state.images_seen)
        if _is_whole(folder):
            return folder
        files.remove_tree(folder)
        files.make_dirs(folder)
        with _whole_or_nothing(folder):
            state.checkpoint().write(files.join(folder, STATE))
            with state.averaged():
                write_weights(folder, state.generator)
            _write_meta(folder, state, metrics)
        self._sweep()
        return folder

    def save_best(self, state: TrainingState, metrics: Mapping[str, float]) -> None:
        """Writes the weights of now as the best ones, then removes those that were the best."""
        name = f"{state.images_seen:012d}"
        folder = files.join(self._best, name)
        files.remove_tree(folder)
        files.make_dirs(folder)
        with _whole_or_nothing(folder):
            with state.averaged():
                write_weights(folder, state.generator)
            _write_meta(folder, state, metrics)
        _keep_only(self._best, {name})

    def best_metrics(self) -> dict[str, float]:
        """Returns the metrics of the best weights, or nothing where there are none yet.

        Damaged ones count as none, so that the next validation writes new ones.
        """
        counts = list_checkpoints(self._best)
        if not counts:
            return {}
        try:
            return dict(verify_checkpoint(files.join(self._best, f"{counts[-1]:012d}"))["metrics"])
        except DataError as error:
            tqdm.write(f"warning: {error} Until then there are no best weights.")
            return {}

    def restore_latest(self, state: TrainingState) -> str | None:
        """Restores the newest whole checkpoint into a freshly built state.

        A damaged one is passed over with a warning that names the file.

        Returns:
            Its folder, or None where the run has none yet.

        Raises:
            DataError: All are damaged, or the state has other variables than the checkpoint.
        """
        folder = self._newest_whole()
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

    def _newest_whole(self) -> str | None:
        damage: list[DataError] = []
        for count in reversed(self.images()):
            try:
                verify_checkpoint(self.path(count))
            except DataError as error:
                damage.append(error)
                continue
            for found in damage:
                tqdm.write(f"warning: {found}")
            return self.path(count)
        if damage:
            raise damage[0]
        return None

    def _sweep(self) -> None:
        """Removes all but the newest checkpoints, and the remains of interrupted ones."""
        counts = self.images()
        kept = counts if self._keep == "all" else counts[-self._keep :]
        _keep_only(self._folder, {f"{count:012d}" for count in kept})


def _keep_only(folder: str, names: set[str]) -> None:
    for name in files.list_dir(folder):
        if name not in names:
            files.remove_tree(files.join(folder, name))


def list_checkpoints(folder: str) -> list[int]:
    """Returns the image counts of the whole checkpoints in a folder, oldest first."""
    if not files.is_dir(folder):
        return []
    return sorted(
        int(name)
        for name in files.list_dir(folder)
        if name.isdigit() and files.exists(files.join(folder, name, META))
    )


def write_weights(folder: str, generator: Generator) -> None:
    """Writes the generator's weights; HDF5 needs a local file, so they pass through one.

    Raises:
        OSError: There is no room for them.
    """
    with tempfile.TemporaryDirectory() as local:
        path = str(Path(local) / WEIGHTS)
        _ask_for_room(path, generator)
        generator.network.save_weights(path)
        files.write_bytes(files.join(folder, WEIGHTS), Path(path).read_bytes())


def _ask_for_room(path: str, generator: Generator) -> None:
    """Raises an OSError where a weights file would not fit: HDF5 ends the process instead."""
    if not hasattr(os, "posix_fallocate"):
        return
    arrays = generator.network.weights
    needed = sum(math.prod(array.shape) * _WIDEST + _H5_OVERHEAD for array in arrays)
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        # Some file systems know no reservation; a full one says so by another number.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        Path(path).unlink(missing_ok=True)


def read_weights(path: str, generator: Generator) -> None:
    """Reads weights written by `write_weights` into a generator of the same architecture.

    Raises:
        DataError: The file is damaged or belongs to another architecture.
    """
    with tempfile.TemporaryDirectory() as local:
        copy = Path(local) / WEIGHTS
        copy.write_bytes(files.read_bytes(path))
        try:
            generator.network.load_weights(str(copy))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path} does not hold the weights of a {generator.name}: {error}"
            ) from error


def stored_weights(path: str) -> dict[str, Any]:
    """Returns every array in a weights file of Keras by its path inside the file."""
    arrays: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with tempfile.TemporaryDirectory() as local:
        copy = Path(local) / "any.weights.h5"
        copy.write_bytes(files.read_bytes(path))
        try:
            with h5py.File(copy, "r") as file:
                file.visititems(collect)
        except OSError as error:
            raise DataError(f"{path} is not a weights file of Keras: {error}.") from error
    return arrays


@contextlib.contextmanager
def _whole_or_nothing(folder: str) -> Iterator[None]:
    """Removes a checkpoint that could not be written to its end."""
    try:
        yield
    except (tf.errors.OpError, OSError, RuntimeError, UserError) as error:
        # Removing it may fail as well; it is no checkpoint, and is swept away later.
        with contextlib.suppress(UserError):
            files.remove_tree(folder)
        raise UserError(
            f"The checkpoint {folder} could not be written: {_reason(error)}. Earlier "
            "checkpoints are whole; free some space and run the same command again to go on "
            "from them."
        ) from error


def _reason(error: Exception) -> str:
    """Returns the first line of what an error says; TensorFlow's go on with the graph."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return text.strip().split("\n")[0].rstrip(".")


def _write_meta(folder: str, state: TrainingState, metrics: Mapping[str, float]) -> None:
    """Makes a folder a checkpoint: the last file to be written."""
    generator = state.generator
    files.write_json(
        files.join(folder, META),
        {
            "format": FORMAT_VERSION,
            "images": state.images_seen,
            # Turns images into epochs for those who read it; the clock itself counts images.
            "epoch_images": state.epoch_images,
            "model": {"name": generator.name, **generator.options},
            "averaged": bool(state.average),
            # JSON knows no NaN, which a PSNR is where blurred images equal their truth.
            "metrics": {n: float(value) for n, value in metrics.items() if math.isfinite(value)},
            "files": {name: _fingerprint(files.join(folder, name)) for name in _content(folder)},
        },
    )


def _content(folder: str) -> list[str]:
    names = files.list_dir(folder)
    return [name for name in names if name != META and not name.endswith(files.PARTIAL_SUFFIX)]


def _fingerprint(path: str) -> dict[str, Any]:
    data = files.read_bytes(path)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_meta(folder: str) -> dict[str, Any]:
    """Reads what a checkpoint says of itself.

    Raises:
        DataError: It is damaged, or was written by another version of the format.
    """
    path = files.join(folder, META)
    try:
        meta: dict[str, Any] = files.read_json(path)
        if not {"images", "model", "metrics", "files"} <= set(meta) and "format" not in meta:
            raise TypeError("no description of a checkpoint")
    except (UserError, TypeError) as error:
        raise DataError(
            f"The checkpoint file {path} is damaged. Remove {folder} and run the same command to "
            "go on from the checkpoint before it."
        ) from error
    if meta.get("format") != FORMAT_VERSION:
        raise DataError(
            f"{folder} has checkpoint format {meta.get('format')}; this version reads "
            f"{FORMAT_VERSION}. Use the tfdeblur version that wrote it."
        )
    return meta


def verify_checkpoint(folder: str) -> dict[str, Any]:
    """Compares every file with what ``meta.json`` says; returns its content.

    Raises:
        DataError: A file is missing or altered; the message names it.
    """
    meta = read_meta(folder)
    for name, expected in meta["files"].items():
        path = files.join(folder, name)
        if not files.exists(path):
            raise DataError(f"The checkpoint file {path} is missing. Remove {folder} to go back.")
        if _fingerprint(path) != expected:
            raise DataError(
                f"The checkpoint file {path} is damaged. Remove {folder} and run the same command "
                "to go on from the checkpoint before it."
            )
    return meta


def _is_whole(folder: str) -> bool:
    """Tells whether a folder is a checkpoint without damage."""
    if not files.exists(files.join(folder, META)):
        return False
    try:
        verify_checkpoint(folder)
    except DataError:
        return False
    return True


def checkpoint_folder(path: str, which: str = "best") -> str:
    """Finds the checkpoint meant by a work directory or a checkpoint's own folder.

    Args:
        path: Either of the two.
        which: ``best`` (the newest one where no validation has named a best yet) or ``last``.

    Raises:
        UserError: There is none.
    """
    if files.exists(files.join(path, META)):
        return path
    for kind in (BEST, CHECKPOINTS) if which == "best" else (CHECKPOINTS,):
        folder = files.join(path, kind)
        counts = list_checkpoints(folder)
        if counts:
            return files.join(folder, f"{counts[-1]:012d}")
    raise UserError(
        f"{path} holds no checkpoint: neither {META} (a checkpoint), nor {BEST}/ or "
        f"{CHECKPOINTS}/ (a work directory of tfdeblur.train)."
    )


def load_generator(path: str, which: str = "best") -> tuple[Generator, dict[str, Any]]:
    """Builds the generator of a trained run and restores its weights.

    Args:
        path: A work directory or a checkpoint's folder.
        which: ``best`` or ``last``, for a work directory.

    Returns:
        The generator, and the checkpoint's ``meta.json`` with its ``folder`` added.

    Raises:
        UserError: There is no checkpoint.
        DataError: It is damaged.
    """
    folder = checkpoint_folder(path, which)
    meta = verify_checkpoint(folder)
    options = dict(meta["model"])
    generator = create(options.pop("name"), options)
    read_weights(files.join(folder, WEIGHTS), generator)
    return generator, {**meta, "folder": folder}
