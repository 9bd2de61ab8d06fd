"""SavedModels: a trained generator as a folder that runs wherever TensorFlow does.

The folder holds the graph, the weights and `tfdeblur.json`, which says what it is. It runs
without tfdeblur:

    model = tf.saved_model.load(folder)
    restored = model.signatures["uint8"](images=photos)["restored"]
"""

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdeblur._version import __version__
from tfdeblur.errors import UserError
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.models.generator import Generator

GRAPH = "saved_model.pb"
DESCRIPTION = "tfdeblur.json"
_VARIABLES = (
    "fingerprint.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)
DESCRIPTION_VERSION = 1

SIGNATURES: dict[str, str] = {
    "serving_default": "images float32 [B, H, W, 3] in [0, 1] -> restored, likewise, clipped",
    "float": "the same as serving_default",
    "uint8": "images uint8 [B, H, W, 3] -> restored uint8, rounded half to even",
    "bytes": "images string [B], each a PNG or JPEG of its own size -> restored_bytes, PNGs",
}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A SavedModel in memory.

    Attributes:
        root: What was loaded. Its variables die with it, so whoever uses `restore` keeps this.
        restore: From float32 [B, H, W, 3] in [0, 1] to restored images of the same shape.
        description: Content of `tfdeblur.json`; empty for a foreign SavedModel.
    """

    root: Any
    restore: Callable[[tf.Tensor], tf.Tensor]
    description: Mapping[str, Any]


def export_saved_model(
    generator: Generator,
    out_dir: str,
    *,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a generator as a SavedModel whose height, width and batch are free.

    Padding, value range and clipping are inside. An earlier export at the same place is replaced
    once the new one is whole.

    Args:
        generator: The trained generator.
        out_dir: Folder to write; any scheme TensorFlow writes.
        about: Further facts for `tfdeblur.json`, such as metrics and images seen.
        overwrite: Whether to write into a folder that holds other files. Only unchanged files of
            an earlier export are replaced; all others stay.

    Returns:
        What was written to `tfdeblur.json`.

    Raises:
        UserError: `out_dir` is a file, holds other files and `overwrite` is not set, holds a file
            that would be overwritten but is not of an export, or cannot be written.
    """
    if files.is_local(out_dir) and os.path.islink(out_dir):
        out_dir = os.path.realpath(out_dir)
    _finish_replacement(out_dir)
    _refuse_other_content(out_dir, overwrite)
    description = {
        "schema_version": DESCRIPTION_VERSION,
        "model": {"name": generator.name, **dict(generator.options)},
        "value_range_inside": generator.value_range,
        "parameters": generator.network.count_params(),
        "signatures": SIGNATURES,
        **dict(about or {}),
        "versions": {
            "tfdeblur": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }
    partial = _beside(out_dir, "partial")
    files.remove_tree(partial)
    files.make_dirs(partial)  # what cannot be written should be known before the work
    try:
        _archive(generator.as_unit_model()).write_out(partial, verbose=False)
    except (tf.errors.OpError, OSError) as error:
        files.remove_tree(partial)
        raise UserError(f"Cannot write the SavedModel to {out_dir}: {error}.") from error
    files.write_json(files.join(partial, DESCRIPTION), description)
    OutputFolder(partial).adopt()
    _put_in_place(partial, out_dir)
    return description


def is_saved_model(path: str) -> bool:
    """Tells whether a folder is a SavedModel."""
    return files.exists(files.join(path, GRAPH))


def load_saved_model(path: str) -> LoadedModel:
    """Loads a SavedModel for restoring images.

    Args:
        path: A folder written by `export_saved_model`, or any SavedModel with a signature that
            takes one float32 [B, H, W, 3] tensor in [0, 1] and returns one like it.

    Raises:
        UserError: It cannot be loaded, or has no such signature.
    """
    try:
        root = tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"{path} is not a SavedModel that this TensorFlow reads: {error}"
        ) from error
    names = list(root.signatures)
    signature = next((root.signatures[n] for n in ("float", "serving_default") if n in names), None)
    inputs = [] if signature is None else list(signature.structured_input_signature[1].items())
    if signature is None or len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise UserError(
            f"{path} has no signature 'float' or 'serving_default' from one tensor of images to "
            f"another; its signatures: {', '.join(names) or 'none'}."
        )
    given, taken = inputs[0]
    returned = next(iter(signature.structured_outputs))
    if taken.dtype != tf.float32 or not taken.shape.is_compatible_with([None, None, None, 3]):
        raise UserError(
            f"{path} takes {taken.dtype.name} {taken.shape}; needed is float32 [B, H, W, 3]."
        )

    def restore(images: tf.Tensor) -> tf.Tensor:
        return signature(**{given: images})[returned]

    described = files.join(path, DESCRIPTION)
    description = files.read_json(described) if files.exists(described) else {}
    return LoadedModel(root, restore, description)


def _archive(model: keras.Model) -> keras.export.ExportArchive:
    def from_float(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"restored": tf.clip_by_value(model(images, training=False), 0.0, 1.0)}

    def from_uint8(images: tf.Tensor) -> dict[str, tf.Tensor]:
        restored = from_float(tf.cast(images, tf.float32) / 255.0)["restored"]
        return {"restored": tf.cast(tf.round(restored * 255.0), tf.uint8)}

    def from_encoded(data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, 3])
        return tf.io.encode_png(from_uint8(image[tf.newaxis])["restored"][0])

    def from_bytes(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # One at a time: their sizes differ, and a large one needs all the memory there is.
        # TensorFlow Serving's REST interface tells by the ending that these are no texts.
        return {
            "restored_bytes": tf.map_fn(
                from_encoded, images, fn_output_signature=tf.string, parallel_iterations=1
            )
        }

    def images(dtype: tf.DType, shape: list[int | None]) -> list[tf.TensorSpec]:
        return [tf.TensorSpec(shape, dtype, name="images")]

    archive = keras.export.ExportArchive()
    archive.track(model)
    pictures: list[int | None] = [None, None, None, 3]
    archive.add_endpoint("serving_default", from_float, images(tf.float32, pictures))
    archive.add_endpoint("float", from_float, images(tf.float32, pictures))
    archive.add_endpoint("uint8", from_uint8, images(tf.uint8, pictures))
    archive.add_endpoint("bytes", from_bytes, images(tf.string, [None]))
    return archive


def _is_export(path: str) -> bool:
    return is_saved_model(path) and files.exists(files.join(path, DESCRIPTION))


def _refuse_other_content(path: str, overwrite: bool) -> None:
    if not files.exists(path):
        return
    if not files.is_dir(path):
        raise UserError(f"{path} is a file; give a folder for the SavedModel.")
    if not overwrite and files.list_dir(path) and not _is_export(path):
        raise UserError(
            f"{path} holds other things than an export. Give another folder, or --overwrite to "
            "put the SavedModel among them."
        )
    OutputFolder.reserve(path, GRAPH, DESCRIPTION, *_VARIABLES)


def _beside(path: str, state: str) -> str:
    # A hidden name in front, not a suffix: ram:// takes a longer sibling for a folder's content.
    return files.join(files.parent(path), f".{files.base_name(path)}.{state}")


def _put_in_place(partial: str, target: str) -> None:
    """Moves a finished export to its place; an earlier one goes only when this one is whole."""
    if files.exists(target):
        if files.list_dir(target):
            _move(target, _beside(target, "old"))
        else:
            files.remove_tree(target)
    _move(partial, target)
    _finish_replacement(target)


def _finish_replacement(target: str) -> None:
    """Removes the export that was replaced and moves all other files back to where they were.

    This also completes a replacement that was interrupted.
    """
    old = _beside(target, "old")
    if not files.exists(old):
        return
    if not files.exists(target):
        _move(old, target)
        return
    OutputFolder(old).clear()
    if files.exists(old):
        for name in files.walk_files(old):
            place = files.join(target, name)
            while files.exists(place):
                place += ".old"
            files.make_dirs(files.parent(place))
            files.rename(files.join(old, name), place)
        files.remove_tree(old)  # holds empty folders only


def _move(source: str, target: str) -> None:
    # Object stores have no folders to rename, and ram:// renames a folder without its content.
    if "://" in target:
        _move_files(source, target)
    else:
        files.rename(source, target)


def _move_files(source: str, target: str) -> None:
    # The graph comes last: a folder is a SavedModel only when all else is in it.
    for name in sorted(files.walk_files(source), key=lambda name: (name == GRAPH, name)):
        files.make_dirs(files.parent(files.join(target, name)))
        files.rename(files.join(source, name), files.join(target, name))
    files.remove_tree(source)
