"""Restoring one large image in overlapping tiles, several of them in parallel."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from tfdeblur.errors import UserError
from tfdeblur.inference.compiled import CompiledFunction
from tfdeblur.ops import tiling

DEFAULT_TILE = 512
DEFAULT_OVERLAP = 64
_CORES = os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Geometry of the tiles of a large image.

    Attributes:
        side: Height and width of a tile in pixels.
        overlap: Pixels shared by neighboring tiles. The outer quarters of the overlap are
            discarded, because the network did not see what lies beyond the tile; neighboring
            tiles are blended over the rest.
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
        """Returns tiles of at most `max_pixels`; derives the sizes that are None."""
        chosen = side or max(1, min(DEFAULT_TILE, math.isqrt(max_pixels)))
        return cls(chosen, min(DEFAULT_OVERLAP, chosen // 4) if overlap is None else overlap)

    def halved(self) -> "Tiles":
        """Returns tiles of half the side, with at most half of it as overlap."""
        return Tiles(self.side // 2, min(self.overlap, self.side // 4))


@dataclasses.dataclass(frozen=True)
class Work:
    """How one call restores its images.

    Attributes:
        max_pixels: Pixels that the network processes at a time; larger images are tiled.
        tiles: Tiles of larger images.
        progress: Whether to show a progress bar over the tiles of a large image.
    """

    max_pixels: int
    tiles: Tiles
    progress: bool = False


def restore_tiles(function: CompiledFunction, image: np.ndarray, work: Work) -> np.ndarray:
    """Restores overlapping tiles of an image and blends them.

    Args:
        function: The compiled network.
        image: float32 [H, W, 3] in [0, 1].
        work: Size of the tiles, and how many pixels of them are processed at a time.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    side, overlap = work.tiles.side, work.tiles.overlap
    padded = tiling.mirror_up_to(image, side)
    rows, columns = padded.shape[:2]
    stride = side - overlap
    boxes = tiling.grid(rows, columns, side, side, stride, stride, cover=True)
    batch_size, workers = _schedule(work.max_pixels // side**2, len(boxes))
    parts = [boxes[first : first + batch_size] for first in range(0, len(boxes), batch_size)]
    shape = (batch_size, side, side, 3)
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
            for box, tile in zip(part, restored, strict=False):
                weight = tiling.blending_weights(box, rows, columns, overlap)
                total[box.slices] += tile * weight
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
    return 1, min(allowed, tf.config.threading.get_intra_op_parallelism_threads() or _CORES)


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
