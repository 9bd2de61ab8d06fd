"""Restoring images of any size with a trained generator.

Images up to a limit pass through the network whole; larger ones as overlapping tiles that are
blended. Compiled functions are reused for all later images.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tqdm
from keras import ops

from tfdeblur.checkpoints.manifest import META
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS, checkpoint_folder, load_generator
from tfdeblur.errors import UserError
from tfdeblur.exporting import saved_model
from tfdeblur.inference import arrays, tlc
from tfdeblur.inference.compiled import Shape, compile_function
from tfdeblur.inference.tiles import Tiles, Work, restore_tiles
from tfdeblur.io import files
from tfdeblur.models import local_pooling
from tfdeblur.models.generator import Generator, Model
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.presets import find
from tfdeblur.presets.preset import FACTS

DEFAULT_MAX_PIXELS = 2**20
"""A 1280x720 frame is not tiled; REDNet30 then needs about 3 GB for its activations."""

_MIN_PIXELS = 128 * 128

# One graph with dynamic shape serves whole images of every size; tiles have a graph per shape.
_ANY_SIZE: Shape = (None, None, None, 3)

Restore = Callable[[Any], Any]


class Restorer:
    """Restores images with one network.

    `deblur` is thread-safe: several threads may call it at once on one restorer and get the same
    results as one after the other. Each call needs memory for `max_pixels` of its own.

    Args:
        source: A generator (`tfdeblur.models.create`), a loaded SavedModel, or any function or
            Keras model from float32 [B, H, W, 3] in [0, 1] to restored images of that shape.
        name: Name of the network.
        about: Facts about the network, such as a checkpoint's metrics.
        max_pixels: Pixels (height times width) processed at a time: of one image, of several small
            ones, or of tiles. Memory grows with it. If a device reports that it is out of memory,
            as GPUs do, smaller tiles are tried. A SavedModel that limits its requests gets no
            larger ones.
        tiles: How images are divided into tiles. By default those of more than `max_pixels` are,
            into tiles whose shape is chosen for their size; `Tiles(512)` divides every image that
            is higher or wider than 512 pixels into tiles of that size.
        ensemble: Restore each image in all eight orientations and average: eight times the work
            for a little more precision (Lim et al., "Enhanced Deep Residual Networks for Single
            Image Super-Resolution", CVPR workshops 2017, geometric self-ensemble).
        plain: The network without test-time local conversion, for images on which the conversion
            fails; see `tfdeblur.inference.tlc`.

    Attributes:
        source: As passed.

    Example:
        >>> restorer = load("runs/unet16")  # doctest: +SKIP
        >>> sharp = restorer.deblur(photo)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Generator | saved_model.LoadedModel | Restore,
        *,
        name: str = "",
        about: Mapping[str, Any] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        tiles: Tiles | None = None,
        ensemble: bool = False,
        plain: "Restorer | None" = None,
    ) -> None:
        # Kept, because the variables of a SavedModel live only as long as the loaded object.
        self.source = source
        self.name = name
        self.about = dict(about or {})
        self.max_pixels = max_pixels
        self.tiles = tiles or Tiles()
        self.ensemble = ensemble
        self._plain = plain
        self._network = _function(source)
        self._compiled = compile_function(self.restore)

    def restore(self, images: Any) -> Any:
        """Applies the network to tensors, for use inside other functions of Keras's backend.

        Args:
            images: float32 [B, H, W, 3] in [0, 1].

        Returns:
            float32 of the same shape, clipped to [0, 1].
        """
        with standard_settings():
            restored = self._network(images)
        return ops.clip(ops.cast(restored, "float32"), 0.0, 1.0)

    def deblur(
        self,
        images: Any,
        *,
        max_pixels: int | None = None,
        tiles: Tiles | None = None,
        ensemble: bool | None = None,
        progress: bool = False,
        exact: bool = False,
    ) -> np.ndarray:
        """Restores an image or a batch of images.

        Args:
            images: [H, W, 3], [B, H, W, 3], or gray as [H, W] or with one channel. Integers
                (uint8, uint16) use their full range; floating-point values are in [0, 1].
            max_pixels: Overrides the restorer's own.
            tiles: Overrides the restorer's own.
            ensemble: Overrides the restorer's own.
            progress: Whether to show a progress bar over the tiles of an image.
            exact: Whether too little memory is an error at once, rather than a reason for smaller
                tiles, with which the result differs a little.

        Returns:
            The restored images, with the shape and dtype of the input; gray images stay gray.

        Raises:
            UserError: Another shape or dtype, values outside [0, 1] or not finite, or too little
                memory even for small tiles.
        """
        array = np.asarray(images)
        batch = arrays.to_batch(array)
        work = self._work(max_pixels, tiles)
        ensemble = self.ensemble if ensemble is None else ensemble
        work = dataclasses.replace(work, ensemble=ensemble, progress=progress, exact=exact)
        restored = self._restore(batch, work)
        if self._plain is not None:
            for index, image in enumerate(batch):
                if tlc.has_color_artifacts(image, restored[index]):
                    tqdm.tqdm.write(
                        "warning: local pooling (TLC) discolored blocks of an image of "
                        f"{image.shape[1]}x{image.shape[0]} pixels; restored it without TLC."
                    )
                    restored[index] = self._plain._restore(image[np.newaxis], work)[0]
        return arrays.from_batch(restored, array)

    def _work(self, max_pixels: int | None, tiles: Tiles | None) -> Work:
        max_pixels = self.max_pixels if max_pixels is None else max_pixels
        if max_pixels < 1:
            raise UserError(f"max_pixels is at least 1; got {max_pixels}.")
        tiles = tiles or self.tiles
        limit = getattr(self.source, "max_pixels", None)
        if limit is not None:
            max_pixels = min(max_pixels, limit)
            tiles = tiles if (tiles.side or 0) ** 2 <= limit else Tiles()
        return Work(max_pixels, tiles)

    def _restore(self, batch: np.ndarray, work: Work) -> np.ndarray:
        """Restores float32 [B, H, W, 3] once, or eight times as an ensemble."""
        if not work.ensemble:
            return self._restore_once(batch, work)
        total = np.zeros_like(batch)
        for turns, mirror in itertools.product(range(4), (False, True)):
            turned = np.ascontiguousarray(_turn(batch, turns, mirror))
            total += _turn_back(self._restore_once(turned, work), turns, mirror)
        return total / 8

    def _restore_once(self, batch: np.ndarray, work: Work) -> np.ndarray:
        height, width = batch.shape[1:3]
        tile = work.tiles.tile_for(height, width, work.max_pixels)
        restored = np.empty_like(batch)
        try:
            if tile is not None:
                for index, image in enumerate(batch):
                    restored[index] = restore_tiles(self._compiled, image, tile, work)
                return restored
            whole_images = max(1, work.max_pixels // (height * width))
            for first in range(0, len(batch), whole_images):
                part = slice(first, first + whole_images)
                restored[part] = self._compiled(batch[part], _ANY_SIZE)
            return restored
        except MemoryError as error:
            at_least = height * width if tile is None else tile.pixels
            fewer = min(max(work.max_pixels, at_least), len(batch) * height * width) // 4
            if work.exact or fewer < _MIN_PIXELS:
                raise UserError(
                    f"The device's memory does not hold {4 * fewer:,} pixels. Free some memory, "
                    f"{'choose smaller tiles, ' * work.exact}or restore on the CPU "
                    "(CUDA_VISIBLE_DEVICES=)."
                ) from error
            smaller = dataclasses.replace(work, max_pixels=fewer, tiles=Tiles())
            return self._restore_once(batch, smaller)


def load_restorer(
    path: str,
    which: Literal["best", "last"] = "best",
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tiles: Tiles | None = None,
    ensemble: bool = False,
    pooling: tlc.Choice = "auto",
    model: Model | None = None,
) -> Restorer:
    """Loads a trained network for restoring images.

    Args:
        path: The name of a preset, a work directory of `tfdeblur.train`, one of its checkpoints,
            the folder of a preset, or a SavedModel.
        which: Which checkpoint of a work directory: the best by its metric, or the last.
        max_pixels: See `Restorer`.
        tiles: See `Restorer`.
        ensemble: See `Restorer`.
        pooling: Pooling window of a network that pools over the whole image; see `tlc.convert`.
            That of a SavedModel is fixed.
        model: The network of a run that trained one from Python; see `training.trainer.Trainer`.

    Raises:
        UserError: There is no trained network at `path`, it is damaged, or it has another pooling
            window that is fixed.
    """
    path = find(path)
    if not files.is_dir(path):
        state = "is a file" if files.exists(path) else "does not exist"
        raise UserError(
            f"{path} {state}. Give the folder of a trained network: a work directory of "
            "tfdeblur.train, one of its checkpoints, a preset, or a SavedModel."
        )
    how: dict[str, Any] = {"max_pixels": max_pixels, "tiles": tiles, "ensemble": ensemble}
    if saved_model.is_saved_model(path):
        if keras.backend.backend() != "tensorflow":
            raise UserError(
                f"{path} is a SavedModel, which TensorFlow runs, but Keras runs on "
                f"{keras.backend.backend()!r}. Give the work directory or a checkpoint instead, or "
                "set KERAS_BACKEND=tensorflow before Python starts."
            )
        loaded = saved_model.load_saved_model(path)
        network = loaded.description.get("model", {})
        fixed = network.get(local_pooling.OPTION) or "off"
        if pooling not in ("auto", None, fixed):
            raise UserError(
                f"tlc: {path} is a SavedModel, whose pooling window is fixed ({fixed}). Remove "
                "--tlc, or export the network again with it."
            )
        name = network.get("name", files.base_name(path))
        return Restorer(loaded, name=name, about=loaded.description, **how)
    try:
        folder = checkpoint_folder(path, which)
    except UserError as error:
        raise UserError(
            f"{path} holds no trained network: no {saved_model.GRAPH} (a SavedModel), no "
            f"{META} (a checkpoint), no {FACTS} (a preset), and no checkpoint in {BEST}/ or "
            f"{CHECKPOINTS}/ (a work directory of tfdeblur.train)."
        ) from error
    generator, meta = load_generator(folder, model=model)
    how |= {"name": generator.name, "about": meta}
    local = tlc.convert(generator, pooling, folder)
    if local is generator:
        return Restorer(generator, **how)
    return Restorer(local, plain=Restorer(generator, **how), **how)


def _turn(batch: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    """Returns [B, H, W, C] optionally mirrored, then rotated by quarter turns."""
    return np.rot90(batch[:, :, ::-1] if mirror else batch, turns, axes=(1, 2))


def _turn_back(batch: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    upright = np.rot90(batch, -turns, axes=(1, 2))
    return upright[:, :, ::-1] if mirror else upright


def _function(source: Any) -> Restore:
    if isinstance(source, saved_model.LoadedModel):
        return source.restore
    with standard_settings():
        model = source.as_unit_model() if hasattr(source, "as_unit_model") else source
    if hasattr(model, "trainable_variables"):
        return lambda images: model(images, training=False)
    function: Restore = model
    return function
