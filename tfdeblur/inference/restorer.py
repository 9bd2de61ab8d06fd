"""Restoring photographs of any size with a trained generator.

An image up to a pixel limit goes through the network whole; a larger one as equal tiles that
overlap and are blended. What is compiled serves every later image.
"""

import dataclasses
import itertools
import math
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf
import tqdm

from tfdeblur.checkpoints.manifest import META
from tfdeblur.checkpoints.weights import BEST, CHECKPOINTS, checkpoint_folder, load_generator
from tfdeblur.errors import UserError
from tfdeblur.exporting import saved_model
from tfdeblur.inference import tlc
from tfdeblur.io import files
from tfdeblur.ops import tiling

DEFAULT_MAX_PIXELS = 2**20
"""A 1280x720 frame still goes whole; REDNet30 then needs about 3 GB for its activations."""

DEFAULT_TILE = 512
DEFAULT_OVERLAP = 64
_SMALLEST_TILE = 128
_CORES = os.cpu_count() or 1

Restore = Callable[[tf.Tensor], tf.Tensor]


class _UnitGenerator(Protocol):
    def as_unit_model(self) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How a large image is cut.

    Attributes:
        side: Height and width of a tile in pixels.
        overlap: Pixels that a tile shares with the next. Its outer quarters are thrown away,
            because there a network misses what lies beyond the tile; the rest is the seam, over
            which one tile fades into the other.
    """

    side: int = DEFAULT_TILE
    overlap: int = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 <= self.overlap < self.side:
            raise UserError(
                f"Tiles of {self.side} pixels cannot overlap by {self.overlap}: the overlap is at "
                "least 0 and less than the tile."
            )

    @classmethod
    def within(
        cls, max_pixels: int, side: int | None = None, overlap: int | None = None
    ) -> "Tiles":
        """Chooses what is not given: a tile within `max_pixels`, an overlap that suits it."""
        chosen = side or max(1, min(DEFAULT_TILE, math.isqrt(max_pixels)))
        return cls(chosen, min(DEFAULT_OVERLAP, chosen // 4) if overlap is None else overlap)


class Restorer:
    """Restores images with one network.

    Args:
        source: A generator (`tfdeblur.models.create`), a loaded SavedModel, or any function or
            Keras model from float32 [B, H, W, 3] in [0, 1] to restored images of that shape.
        name: What the network is called.
        about: What is known of it, such as a checkpoint's metrics.
        max_pixels: Height times width up to which an image goes through whole, and pixels of the
            tiles in work at a time. Memory grows with it. Where it turns out too much for a device
            that says so (a GPU), smaller tiles are tried.
        tiles: How larger images are cut; suited to `max_pixels` where not given.
        ensemble: Restore each image in all eight orientations and average: eight times the work
            for a little more precision (Lim et al., "Enhanced Deep Residual Networks for Single
            Image Super-Resolution", CVPR workshops 2017, geometric self-ensemble).
        plain: The network without its local converter, for images that it spoils; see
            `tfdeblur.inference.tlc`.

    Attributes:
        source: What was given.

    Example:
        >>> restorer = load("runs/unet16")
        >>> sharp = restorer.deblur(photo)  # uint8 [H, W, 3], like the photo
    """

    def __init__(
        self,
        source: "_UnitGenerator | saved_model.LoadedModel | Restore",
        *,
        name: str = "",
        about: Mapping[str, Any] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        tiles: Tiles | None = None,
        ensemble: bool = False,
        plain: "Restorer | None" = None,
    ) -> None:
        # Kept, because a SavedModel's variables live only as long as what was loaded.
        self.source = source
        self.name = name
        self.about = dict(about or {})
        self.max_pixels = max_pixels
        self.tiles = tiles or Tiles.within(max_pixels)
        self.ensemble = ensemble
        self._plain = plain
        self._network = _function(source)
        # Whole images come in every size: one graph of dynamic shape serves them all, where a
        # graph a size would be traced for each. Tiles have one size each, and a graph for it.
        self._whole = tf.function(
            self.restore, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
        )
        self._tiled: dict[tuple[int, int], list[Any]] = {}

    def restore(self, images: tf.Tensor) -> tf.Tensor:
        """Runs the network inside TensorFlow, such as for an evaluation.

        Args:
            images: float32 [B, H, W, 3] in [0, 1].

        Returns:
            float32 of the same shape, clipped to [0, 1].
        """
        return tf.clip_by_value(tf.cast(self._network(images), tf.float32), 0.0, 1.0)

    def deblur(
        self,
        images: Any,
        *,
        max_pixels: int | None = None,
        tiles: Tiles | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Restores an image or a batch of images.

        Args:
            images: [H, W, 3], [B, H, W, 3], or gray as [H, W] or with one channel. Integers
                (uint8, uint16) use their full range; floating-point values are in [0, 1].
            max_pixels: Overrides the restorer's own, and its tiles with it.
            tiles: Overrides the restorer's own.
            progress: Whether to show a bar over the tiles of a large image.

        Returns:
            The restored images, of the shape and dtype given. Gray images come back gray.

        Raises:
            UserError: Another shape or dtype, values outside [0, 1] or not finite, or too little
                memory even for small tiles.
        """
        array = np.asarray(images)
        unit, white = _to_unit(array)
        batch, gray = _to_batch(unit)
        limit = self.max_pixels if max_pixels is None else max_pixels
        if limit < 1:
            raise UserError(f"max_pixels is at least 1; got {limit}.")
        if tiles is None:
            tiles = self.tiles if max_pixels is None else Tiles.within(limit)
        restored = self._in_all_orientations(batch, limit, tiles, progress)
        if self._plain is not None:
            for place, image in enumerate(batch):
                if tlc.has_mosaic(image, restored[place]):
                    tqdm.tqdm.write(
                        f"warning: with local pooling (TLC) blocks of an image of {image.shape[1]}x"
                        f"{image.shape[0]} took on strange colors; it was restored without."
                    )
                    alone = image[np.newaxis]
                    again = self._plain._in_all_orientations(alone, limit, tiles, progress)
                    restored[place] = again[0]
        if gray:
            restored = restored.mean(axis=-1, keepdims=True)
        return _from_unit(restored.reshape(array.shape), array.dtype, white)

    def _in_all_orientations(
        self, batch: np.ndarray, limit: int, tiles: Tiles, progress: bool
    ) -> np.ndarray:
        """Restores float32 [B, H, W, 3] once, or eight times as an ensemble."""
        if not self.ensemble:
            return self._run(batch, limit, tiles, progress)
        total = np.zeros_like(batch)
        for turns, mirror in itertools.product(range(4), (False, True)):
            turned = np.ascontiguousarray(_turned(batch, turns, mirror))
            total += _turned_back(self._run(turned, limit, tiles, progress), turns, mirror)
        return total / 8

    def _run(self, batch: np.ndarray, limit: int, tiles: Tiles, progress: bool) -> np.ndarray:
        """Restores float32 [B, H, W, 3], whole or in tiles."""
        restored = np.empty_like(batch)
        height, width = batch.shape[1:3]
        if height * width <= limit:
            self._run_whole(batch, restored, limit // (height * width), tiles)
        else:
            for image, out in zip(batch, restored, strict=True):
                self._run_tiles(image, out, limit, tiles, progress)
        return restored

    def _run_whole(self, batch: np.ndarray, out: np.ndarray, at_once: int, tiles: Tiles) -> None:
        for first in range(0, len(batch), at_once):
            part = slice(first, first + at_once)
            try:
                out[part] = self._whole(tf.constant(batch[part])).numpy()
            except tf.errors.ResourceExhaustedError:
                for image, restored in zip(batch[part], out[part], strict=True):
                    self._run_tiles(image, restored, tiles.side**2, tiles, progress=False)

    def _run_tiles(
        self, image: np.ndarray, out: np.ndarray, limit: int, tiles: Tiles, progress: bool
    ) -> None:
        try:
            self._blend(image, out, limit, tiles, progress)
        except tf.errors.ResourceExhaustedError as error:
            smaller = Tiles(tiles.side // 2, min(tiles.overlap, tiles.side // 4))
            if smaller.side < _SMALLEST_TILE:
                raise UserError(
                    f"The device's memory does not hold tiles of {tiles.side} pixels. Free some "
                    "memory, or restore on the CPU (CUDA_VISIBLE_DEVICES=)."
                ) from error
            self._run_tiles(image, out, smaller.side**2, smaller, progress)

    def _blend(
        self, image: np.ndarray, out: np.ndarray, limit: int, tiles: Tiles, progress: bool
    ) -> None:
        """Runs overlapping tiles of one [H, W, 3] image and blends them into `out`."""
        side, stride = tiles.side, tiles.side - tiles.overlap
        padded = tiling.mirror_up_to(image, side)
        rows, columns = padded.shape[:2]
        boxes = tiling.grid(rows, columns, side, side, stride, stride, cover=True)
        total = np.zeros_like(padded)
        weights = np.zeros((rows, columns, 1), np.float32)
        at_once, together = _schedule(limit // side**2, len(boxes))
        idle = queue.SimpleQueue[Any]()
        for run in self._for_tiles(at_once, side, together):
            idle.put(run)
        parts = [boxes[first : first + at_once] for first in range(0, len(boxes), at_once)]

        def restore(part: Sequence[tiling.Box]) -> np.ndarray:
            batch = np.zeros((at_once, side, side, 3), np.float32)
            batch[: len(part)] = [padded[box.slices] for box in part]
            run = idle.get()
            try:
                return np.asarray(run(tf.constant(batch)))
            finally:
                idle.put(run)

        hidden = not progress or None  # None where that depends on the terminal
        with tqdm.tqdm(total=len(boxes), desc="tiles", leave=False, disable=hidden) as bar:
            for part, done in zip(parts, _in_order(restore, parts, together), strict=True):
                for box, tile in zip(part, done, strict=False):
                    weight = tiling.blending_weights(box, rows, columns, tiles.overlap)
                    total[box.slices] += tile * weight
                    weights[box.slices] += weight
                bar.update(len(part))
        inside = tuple(map(slice, image.shape[:2]))
        np.divide(total[inside], weights[inside], out=out)

    def _for_tiles(self, at_once: int, side: int, together: int) -> list[Any]:
        """Returns as many functions of tiles as run at the same time.

        They compute the same and share their weights, but each has kernels of its own: on a CPU a
        convolution fused with an addition keeps in its kernel what it works on (TensorFlow 2.21),
        so threads that call one function take each other's pixels, or the process dies.
        """
        spec = tf.TensorSpec([at_once, side, side, 3], tf.float32)
        functions = self._tiled.setdefault((at_once, side), [])

        def again(images: tf.Tensor) -> tf.Tensor:
            # Not traced once more: the first becomes a part of each of the others.
            return functions[0](images)

        while len(functions) < together:
            # Traced here, because what Keras is told (precision, devices) is told to a thread.
            traced = tf.function(again if functions else self.restore)
            functions.append(traced.get_concrete_function(spec))
        return functions[:together]


def load_restorer(
    path: str,
    which: Literal["best", "last"] = "best",
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tiles: Tiles | None = None,
    ensemble: bool = False,
    pooling: tlc.Choice = "auto",
) -> Restorer:
    """Loads a trained network for restoring images.

    Args:
        path: A work directory of `tfdeblur.train`, one of its checkpoints, or a SavedModel.
        which: Which checkpoint of a work directory: the best by its metric, or the last.
        max_pixels: See `Restorer`.
        tiles: See `Restorer`.
        ensemble: See `Restorer`.
        pooling: Window of a network that pools over the whole image; see `tlc.convert`.
            A SavedModel has its own.

    Raises:
        UserError: There is no such thing at `path`, or it is damaged.
    """
    if not files.is_dir(path):
        state = "is a file" if files.exists(path) else "does not exist"
        raise UserError(
            f"{path} {state}. Needed is the folder of a trained network: a work directory of "
            "tfdeblur.train, one of its checkpoints, or a SavedModel."
        )
    how: dict[str, Any] = {"max_pixels": max_pixels, "tiles": tiles, "ensemble": ensemble}
    if saved_model.is_saved_model(path):
        loaded = saved_model.load_saved_model(path)
        name = dict(loaded.description.get("model", {})).get("name", files.base_name(path))
        return Restorer(loaded, name=name, about=loaded.description, **how)
    try:
        folder = checkpoint_folder(path, which)
    except UserError as error:
        raise UserError(
            f"{path} holds no trained network: no {saved_model.GRAPH} (a SavedModel), no "
            f"{META} (a checkpoint), and no checkpoint in {BEST}/ or "
            f"{CHECKPOINTS}/ (a work directory of tfdeblur.train)."
        ) from error
    generator, meta = load_generator(folder)
    how |= {"name": generator.name, "about": meta}
    local = tlc.convert(generator, pooling, folder)
    if local is generator:
        return Restorer(generator, **how)
    return Restorer(local, plain=Restorer(generator, **how), **how)


def _schedule(allowed: int, tiles: int) -> tuple[int, int]:
    """Returns how many tiles go in one batch, and how many batches at the same time."""
    # On a CPU one by one, but several side by side, because many operations keep one core busy.
    allowed = max(1, min(allowed, tiles))
    if {device.device_type for device in tf.config.list_logical_devices()} != {"CPU"}:
        return allowed, 1
    return 1, min(allowed, tf.config.threading.get_intra_op_parallelism_threads() or _CORES)


def _in_order(
    function: Callable[[Any], np.ndarray], items: Sequence[Any], together: int
) -> Iterator[np.ndarray]:
    """Yields what a function makes of each item; `together` of them run at the same time."""
    if together == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(together) as pool:
        running: list[Future[np.ndarray]] = []
        for item in items:
            running.append(pool.submit(function, item))
            # One more waits, so that no thread does while a result is taken up.
            if len(running) > together:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()


def _turned(batch: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    """Returns [B, H, W, C] mirrored, if so, and then turned by quarters."""
    return np.rot90(batch[:, :, ::-1] if mirror else batch, turns, axes=(1, 2))


def _turned_back(batch: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    upright = np.rot90(batch, -turns, axes=(1, 2))
    return upright[:, :, ::-1] if mirror else upright


def _function(source: Any) -> Restore:
    if isinstance(source, saved_model.LoadedModel):
        return source.restore
    model = source.as_unit_model() if hasattr(source, "as_unit_model") else source
    if hasattr(model, "trainable_variables"):
        return lambda images: model(images, training=False)
    function: Restore = model
    return function


def _to_unit(array: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns float32 in [0, 1] and the value of white."""
    if array.dtype in (np.uint8, np.uint16):
        white = float(np.iinfo(array.dtype).max)
        return array.astype(np.float32) / np.float32(white), white
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"Images are uint8 or uint16, or floating-point in [0, 1]; got {array.dtype}."
        )
    unit = array.astype(np.float32)
    low, high = (float(unit.min()), float(unit.max())) if unit.size else (0.0, 0.0)
    # A hair outside is what resizing and color conversion leave; 255 is a forgotten division.
    if not (low >= -0.01 and high <= 1.01):
        raise UserError(
            f"Floating-point images are in [0, 1]; these go from {low:g} to {high:g}. Divide "
            "values of 0..255 by 255, or hand over uint8."
        )
    return np.clip(unit, 0.0, 1.0), 1.0


def _from_unit(unit: np.ndarray, dtype: np.dtype[Any], white: float) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return unit.astype(dtype)
    return np.rint(unit * np.float32(white)).astype(dtype)


def _to_batch(unit: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns [B, H, W, 3] and whether the images were gray."""
    shape = unit.shape
    gray = len(shape) == 2 or (len(shape) in (3, 4) and shape[-1] == 1)
    if not gray and not (len(shape) in (3, 4) and shape[-1] == 3):
        raise UserError(
            f"Images are [H, W, 3], [B, H, W, 3], or gray as [H, W] or with one channel; got "
            f"{list(shape)}."
            + (" Restore the colors and keep the alpha channel apart." * (shape[-1:] == (4,)))
        )
    if 0 in (shape[:2] if len(shape) < 4 else shape[1:3]):
        raise UserError(f"An image needs at least one pixel; got the shape {list(shape)}.")
    unit = unit[..., np.newaxis] if len(shape) == 2 else unit
    batch = unit if len(unit.shape) == 4 else unit[np.newaxis]
    return (np.repeat(batch, 3, axis=-1) if gray else batch), gray
