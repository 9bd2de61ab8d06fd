"""Restoring one large image in overlapping tiles, several of them in parallel."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np
import tqdm

from tfdeblur.errors import UserError
from tfdeblur.inference.compiled import CompiledFunction
from tfdeblur.ops import tiling
from tfdeblur.ops.lazy import tensorflow as tf

_OVERLAP = 64
# Larger tiles overlap less, but NAFNet's pooling over windows takes longer for each of their pixels
# (a tenth at 640x768), and fewer of them run in parallel.
_MAX_TILE_PIXELS = 512 * 512
_CORES = os.cpu_count() or 1


class Tile(NamedTuple):
    """Size of each tile of an image, and the pixels that neighbors share."""

    height: int
    width: int
    overlap: int

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    def along(self, length: int, side: int) -> int:
        """Returns the number of tiles along one axis of an image."""
        return 1 + max(0, math.ceil((length - side) / (side - self.overlap)))

    def boxes(self, height: int, width: int) -> list[tiling.Box]:
        """Returns the tiles of an image of at least their size."""
        strides = self.height - self.overlap, self.width - self.overlap
        return tiling.grid(height, width, self.height, self.width, *strides, cover=True)


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How images are divided into tiles.

    Attributes:
        side: Height and width of a tile in pixels; every larger image is divided. If unset, images
            of more pixels than may be processed at a time are divided, into tiles of a shape that
            is chosen for each size of image.
        overlap: Pixels shared by neighboring tiles; if unset, 64, but at most a quarter of a tile.
            The outer quarters of the overlap are discarded, because the network did not see what
            lies beyond the tile; neighboring tiles are blended over the rest.
    """

    side: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= (self.overlap or 0) < (math.inf if self.side is None else self.side):
            raise UserError(
                "The overlap of tiles is at least 0 and less than their side; got an overlap of "
                f"{self.overlap} and a side of {self.side}."
            )

    def tile_for(self, height: int, width: int, max_pixels: int) -> Tile | None:
        """Returns the tile for images of a size; None if they are not divided.

        If `side` is unset, it is the one of `_shapes` for which the fewest pixels are computed, and
        if possible none is mirrored.

        Args:
            height: Rows of the image.
            width: Columns of the image.
            max_pixels: Pixels that may be processed at a time.

        Raises:
            UserError: The overlap is too large for tiles of that many pixels.
        """
        if self.side is not None:
            if max(height, width) <= self.side:
                return None
            return Tile(self.side, self.side, self._overlap(self.side))
        if height * width <= max_pixels:
            return None
        allowed = min(max_pixels, _MAX_TILE_PIXELS)
        overlap = self._overlap(math.isqrt(allowed))
        shapes = [shape for shape in _shapes(allowed) if min(shape) > overlap]
        if not shapes:
            raise UserError(
                f"Tiles of {allowed:,} pixels cannot overlap by {overlap}. Reduce the overlap, or "
                "choose the side of the tiles."
            )

        def cost(tile: Tile) -> tuple[int, int]:
            mirrored = max(tile.height - height, 0) + max(tile.width - width, 0)
            count = tile.along(height, tile.height) * tile.along(width, tile.width)
            return mirrored, count * tile.pixels

        return min((Tile(*shape, overlap) for shape in shapes), key=cost)

    def _overlap(self, side: int) -> int:
        return min(_OVERLAP, side // 4) if self.overlap is None else self.overlap


def _shapes(allowed: int) -> list[tuple[int, int]]:
    """Returns the heights and widths from which the tile for a size of image is chosen.

    They are few, because the network is compiled for each, 37 for 512 * 512 pixels: of `allowed`
    pixels or down to two thirds of that, neither side more than one and a half times the other, and
    both multiples of a sixteenth of the square's side, rounded down to a power of two.
    """
    step = 1 << max(0, math.isqrt(allowed).bit_length() - 5)
    sides = range(step, math.isqrt(3 * allowed // 2) + 1, step)
    shapes = [
        (height, width)
        for height in sides
        for width in sides
        if 2 * allowed <= 3 * height * width <= 3 * allowed
        and max(height, width) <= 1.5 * min(height, width)
    ]
    return shapes or [(1, 1)]  # of two or three pixels


@dataclasses.dataclass(frozen=True)
class Work:
    """How one call restores its images.

    Attributes:
        max_pixels: Pixels that the network processes at a time.
        tiles: How images are divided into tiles.
        ensemble: Whether to average over all eight orientations.
        progress: Whether to show a progress bar over the tiles of an image.
        exact: Whether the tiles are never smaller than these, as those of a measurement.
    """

    max_pixels: int
    tiles: Tiles
    ensemble: bool = False
    progress: bool = False
    exact: bool = False


def restore_tiles(
    function: CompiledFunction, image: np.ndarray, tile: Tile, work: Work
) -> np.ndarray:
    """Restores overlapping tiles of an image and blends them.

    Args:
        function: The compiled network.
        image: float32 [H, W, 3] in [0, 1].
        tile: Size of the tiles.
        work: How many pixels of tiles are processed at a time.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    padded = tiling.mirror_up_to(image, tile.height, tile.width)
    rows, columns = padded.shape[:2]
    boxes = tile.boxes(rows, columns)
    batch_size, workers = _schedule(work.max_pixels // tile.pixels, len(boxes))
    parts = [boxes[first : first + batch_size] for first in range(0, len(boxes), batch_size)]
    shape = (batch_size, tile.height, tile.width, 3)
    function.trace(shape)  # in this thread, not in a worker

    def restore(part: Sequence[tiling.Box]) -> np.ndarray:
        batch = np.zeros(shape, np.float32)
        batch[: len(part)] = [padded[box.slices] for box in part]
        return function(batch, shape)

    total = np.zeros_like(padded)
    weights = np.zeros((rows, columns, 1), np.float32)
    hidden = not work.progress or None  # None: hidden unless the output is a terminal
    with tqdm.tqdm(total=len(boxes), desc="tiles", leave=False, disable=hidden) as bar:
        for part, restored in zip(parts, _map(restore, parts, workers), strict=True):
            for box, pixels in zip(part, restored, strict=False):
                weight = tiling.blending_weights(box, rows, columns, tile.overlap)
                total[box.slices] += pixels * weight
                weights[box.slices] += weight
            bar.update(len(part))
    total /= weights
    return total[: image.shape[0], : image.shape[1]]


def _schedule(allowed: int, tiles: int) -> tuple[int, int]:
    """Returns the number of tiles per batch, and of batches that run in parallel."""
    # On a CPU single tiles in parallel, because many operations use one core only.
    allowed = max(1, min(allowed, tiles))
    if {device.partition(":")[0] for device in keras.distribution.list_devices()} != {"cpu"}:
        return allowed, 1
    threads = 0  # one per core
    if keras.backend.backend() == "tensorflow":
        threads = tf.config.threading.get_intra_op_parallelism_threads()
    return 1, min(allowed, threads or _CORES)


def _map(
    function: Callable[[Any], np.ndarray], items: Sequence[Any], workers: int
) -> Iterator[np.ndarray]:
    """Yields the results in order; at most `workers` of them are computed at the same time."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        running: list[Future[np.ndarray]] = []
        for item in items:
            running.append(pool.submit(function, item))
            # One more is queued, so that no worker idles while a result is consumed.
            if len(running) > workers:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()
