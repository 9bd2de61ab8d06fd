"""SavedModels: a trained generator as a folder that TensorFlow runs without tfdeblur.

The folder holds the graph, the weights and `tfdeblur.json`, which describes them:

    model = tf.saved_model.load(folder)
    restored = model.signatures["uint8"](images=photos)["restored"]
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from tfdeblur._version import __version__
from tfdeblur.errors import DataError, UserError, reason_of
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.models.generator import Generator
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.ops.lazy import tensorflow as tf

GRAPH = "saved_model.pb"
DESCRIPTION = "tfdeblur.json"
_VARIABLES = (
    "fingerprint.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)
DESCRIPTION_VERSION = 1

_PATTERNS = "*?[\\"

# Locked in the folder of an unfinished export for as long as its process runs.
_LOCK = ".export.lock"

# Types of entries of the description, each with a value of that type.
_ENTRIES: dict[str, tuple[type, Any]] = {
    "model": (dict, {}),
    "metrics": (dict, {}),
    "images": (int, 0),
    "averaged": (bool, False),
    "max_pixels": (int, 1),
}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A SavedModel in memory.

    Attributes:
        root: The loaded object. It owns the variables, so keep it as long as `restore` is used.
        restore: From float32 [B, H, W, 3] in [0, 1] to restored images of the same shape.
        description: Content of `tfdeblur.json`; empty for a SavedModel of another origin.
        path: Its folder.
    """

    root: Any
    restore: Callable[[tf.Tensor], tf.Tensor]
    description: Mapping[str, Any]
    path: str

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the names and contents of its files."""
        digest = hashlib.sha256()
        for name in files.walk_files(self.path):
            # The description contains the time of the export and is not part of the network.
            if name != DESCRIPTION:
                digest.update(name.encode() + b"\0")
                digest.update(
                    hashlib.sha256(files.read_bytes(files.join(self.path, name))).digest()
                )
        return digest.hexdigest()

    @property
    def max_pixels(self) -> int | None:
        """Pixels that `restore` takes at a time, if its export limits them."""
        return self.description.get("max_pixels")


def export_saved_model(
    generator: Generator,
    out_dir: str,
    *,
    about: Mapping[str, Any] | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a generator as a SavedModel for any batch size, height and width.

    Padding, value range and clipping are part of the graph. An earlier export in the same folder
    is replaced once the new one is complete.

    Args:
        generator: The trained generator.
        out_dir: Folder to write; any scheme TensorFlow writes.
        about: Further facts for `tfdeblur.json`, such as metrics and images seen.
        max_pixels: The signatures reject requests of more pixels (batch size times height times
            width; for encoded images, each image); unlimited if None.
        overwrite: Whether to write into a folder that holds other files. Only unchanged files of
            an earlier export are replaced; all others stay.

    Returns:
        The content of `tfdeblur.json`.

    Raises:
        UserError: `out_dir` is a file, holds other files and `overwrite` is not set, holds a file
            that would be overwritten but does not belong to an export, or cannot be written.
    """
    # Where TensorFlow is not installed, restoring uses this module, too.
    from tfdeblur.exporting.served import SIGNATURES

    if any(character in out_dir for character in _PATTERNS):
        raise UserError(
            f"{out_dir}: TensorFlow reads {_PATTERNS!r} in the path of a SavedModel as a pattern "
            "and could not load it. Choose another name."
        )
    if files.is_link(out_dir):
        out_dir = os.path.realpath(out_dir)
    old = _sibling(out_dir, "old")
    if files.exists(old) and not OutputFolder.is_one(old):
        raise UserError(f"{old} is not the rest of an interrupted export. Rename it first.")
    _finish_replacement(out_dir)
    _refuse_other_content(out_dir, overwrite)
    description = {
        "schema_version": DESCRIPTION_VERSION,
        "model": {"name": generator.name, **dict(generator.options)},
        "value_range_inside": generator.value_range,
        "parameters": generator.network.count_params(),
        "signatures": SIGNATURES,
        **({} if max_pixels is None else {"max_pixels": max_pixels}),
        **dict(about or {}),
        "versions": {
            "tfdeblur": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }
    with _unfinished(out_dir) as partial:
        try:
            with standard_settings():
                _archive(generator.as_unit_model(), max_pixels).write_out(partial, verbose=False)
        except (tf.errors.OpError, OSError) as error:
            raise UserError(f"Cannot write the SavedModel to {out_dir}: {error}.") from error
        files.write_json(files.join(partial, DESCRIPTION), description)
    OutputFolder(partial).adopt()
    _put_in_place(partial, out_dir)
    return description


def is_saved_model(path: str) -> bool:
    """Returns whether a folder is a SavedModel."""
    return files.exists(files.join(path, GRAPH))


def load_saved_model(path: str) -> LoadedModel:
    """Loads a SavedModel for restoring images.

    Args:
        path: A folder written by `export_saved_model`, or any SavedModel with a signature that
            takes one float32 [B, H, W, 3] tensor in [0, 1] and returns another.

    Raises:
        DataError: Its description is damaged.
        UserError: It cannot be loaded, or has no such signature.
    """
    try:
        root = tf.saved_model.load(path)
    except Exception as error:  # damage raises almost any type
        raise UserError(
            f"{path} is not a SavedModel that this TensorFlow can load: {reason_of(error)}."
        ) from error
    names = list(root.signatures)
    signature = next((root.signatures[n] for n in ("float", "serving_default") if n in names), None)
    inputs = [] if signature is None else list(signature.structured_input_signature[1].items())
    if signature is None or len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise UserError(
            f"{path} has no signature 'float' or 'serving_default' that maps one tensor of images "
            f"to another; its signatures: {', '.join(names) or 'none'}."
        )
    input_name, spec = inputs[0]
    output_name = next(iter(signature.structured_outputs))
    if spec.dtype != tf.float32 or not spec.shape.is_compatible_with([None, None, None, 3]):
        raise UserError(
            f"{path} takes {spec.dtype.name} {spec.shape}; float32 [B, H, W, 3] is required."
        )

    def restore(images: tf.Tensor) -> tf.Tensor:
        return signature(**{input_name: images})[output_name]

    return LoadedModel(root, restore, _read_description(files.join(path, DESCRIPTION)), path)


def _read_description(path: str) -> dict[str, Any]:
    if not files.exists(path):
        return {}
    found = files.read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: it contains no entries. Export the model again.")
    for key, (kind, expected) in _ENTRIES.items():
        if not isinstance(found.get(key, expected), kind):
            raise DataError(f"{path} is damaged: the type of {key} is wrong. Export it again.")
    if not isinstance(found.get("model", {}).get("name", ""), str):
        raise DataError(f"{path} is damaged: the type of model.name is wrong. Export it again.")
    if found.get("max_pixels", 1) < 1:
        raise DataError(f"{path} is damaged: max_pixels is not positive. Export it again.")
    # Of checkpoints only: a path that other commands follow.
    found.pop("folder", None)
    return found


def _archive(model: keras.Model, max_pixels: int | None) -> keras.export.ExportArchive:
    from tfdeblur.exporting.served import Served

    served = Served(lambda images: model(images, training=False), max_pixels)
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function, dtype, shape in (
        ("serving_default", served.from_float, tf.float32, [None, None, None, 3]),
        ("float", served.from_float, tf.float32, [None, None, None, 3]),
        ("uint8", served.from_uint8, tf.uint8, [None, None, None, 3]),
        ("bytes", served.from_bytes, tf.string, [None]),
    ):
        archive.add_endpoint(name, function, [tf.TensorSpec(shape, dtype, name="images")])
    return archive


def _is_export(path: str) -> bool:
    return is_saved_model(path) and files.exists(files.join(path, DESCRIPTION))


def _refuse_other_content(path: str, overwrite: bool) -> None:
    if not files.exists(path):
        return
    if not files.is_dir(path):
        raise UserError(f"{path} is a file; a SavedModel is a folder.")
    if not overwrite and files.list_dir(path) and not _is_export(path):
        raise UserError(
            f"{path} holds files that are not an export. Choose another folder, or pass "
            "--overwrite to add the SavedModel to them."
        )
    OutputFolder.reserve(path, GRAPH, DESCRIPTION, *_VARIABLES)


def _sibling(path: str, state: str) -> str:
    # A prefix, not a suffix: ram:// treats a sibling with a longer name as the folder's content.
    return files.join(files.parent(path), f".{files.base_name(path)}.{state}")


@contextlib.contextmanager
def _unfinished(target: str) -> Iterator[str]:
    """Creates a folder for an export, which is removed if the block raises.

    It has a name of its own, because another process may export to the same target, and a lock,
    by which a later export recognizes and removes the folder of a killed process.
    """
    local = files.is_local(target)
    if local:
        _remove_killed(target)
    partial = _sibling(target, f"{uuid.uuid4().hex[:8]}{files.PARTIAL_SUFFIX}")
    files.make_dirs(partial)  # fails before the work if the folder cannot be written
    try:
        if not local:
            yield partial
            return
        lock = files.join(partial, _LOCK)
        with open(lock, "wb") as file:
            files.lock(file)
            yield partial
            files.remove(lock)
    except BaseException:
        files.remove_tree(partial)
        raise


def _remove_killed(target: str) -> None:
    """Removes the unfinished folders of killed exports to a target."""
    folder = files.parent(target) or os.curdir
    name_of = rf"\.{re.escape(files.base_name(target))}\.[0-9a-f]{{8}}"
    partial = re.compile(f"{name_of}{re.escape(files.PARTIAL_SUFFIX)}")
    for name in filter(partial.fullmatch, files.list_dir(folder) if files.is_dir(folder) else ()):
        path = files.join(folder, name)
        # Folders without the lock are not, or no longer, unfinished exports.
        with (
            contextlib.suppress(OSError, UserError),
            open(files.join(path, _LOCK), "r+b") as file,
        ):
            if files.lock(file):
                files.remove_tree(path)


def _put_in_place(partial: str, target: str) -> None:
    """Renames a complete export to its final name, then removes the one it replaces."""
    if files.exists(target):
        if files.list_dir(target):
            OutputFolder(target).mark()
            _move(target, _sibling(target, "old"))
        else:
            files.remove_tree(target)
    _move(partial, target)
    _finish_replacement(target)


def _finish_replacement(target: str) -> None:
    """Removes the replaced export and moves all other files of its folder back.

    Also completes a replacement that was interrupted.
    """
    old = _sibling(target, "old")
    if not files.exists(old):
        return
    if not files.exists(target):
        _move(old, target)
        return
    OutputFolder(old).clear()
    if files.exists(old):
        for name in _entries(old):
            place = files.join(target, name)
            while files.exists(place):
                place += ".old"
            files.make_dirs(files.parent(place))
            files.rename(files.join(old, name), place)
        files.remove_tree(old)  # holds empty folders only


def _entries(folder: str) -> list[str]:
    """Returns the files below a folder, and its links to folders, which are not followed."""
    if not files.is_local(folder):
        return files.walk_files(folder)
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if files.is_link(files.join(place, name))]
        found += [os.path.relpath(files.join(place, name), folder) for name in (*names, *links)]
    return sorted(found)


def _move(source: str, target: str) -> None:
    # Object stores have no folders to rename; ram:// renames a folder without its content.
    if "://" in target:
        _move_files(source, target)
    else:
        files.rename(source, target)


def _move_files(source: str, target: str) -> None:
    # The graph comes last: it marks a folder as a SavedModel, so all else must be there.
    for name in sorted(files.walk_files(source), key=lambda name: (name == GRAPH, name)):
        files.make_dirs(files.parent(files.join(target, name)))
        files.rename(files.join(source, name), files.join(target, name))
    files.remove_tree(source)
