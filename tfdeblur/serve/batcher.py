"""Restores images of equal size together, one batch after the other."""

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Time that an image waits for others of its size.
_WAIT_SECONDS = 0.005


@dataclasses.dataclass(frozen=True)
class Options:
    """How an image is restored.

    Attributes:
        ensemble: Whether to average over all eight orientations.
        tile: Side of the tiles in pixels, into which every larger image is divided; if unset, only
            images above the server's limit are, into tiles that suit their size.
    """

    ensemble: bool = False
    tile: int | None = None


Restore = Callable[[np.ndarray, Options], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    pixels: np.ndarray
    options: Options
    done: "asyncio.Future[np.ndarray]"

    def fits(self, other: "_Job") -> bool:
        """Returns whether both can be in one batch. Gray images have no axis for their number."""
        same = self.pixels.shape == other.pixels.shape and self.pixels.dtype == other.pixels.dtype
        return same and self.pixels.ndim == 3 and self.options == other.options


class Batcher:
    """A queue of images before a single thread, which alone uses the network.

    Args:
        restore: From images [H, W], [H, W, 3] or [B, H, W, 3] to the same.
        pixels_at_once: Pixels of all images of a batch; a larger image is a batch of its own.
    """

    def __init__(self, restore: Restore, *, pixels_at_once: int) -> None:
        self._restore = restore
        self._pixels_at_once = pixels_at_once
        self._jobs: collections.deque[_Job] = collections.deque()
        self._arrived = asyncio.Event()
        self.batches = 0
        self.images = 0

    @property
    def waiting(self) -> int:
        """Number of images that wait."""
        return len(self._jobs)

    async def __call__(self, pixels: np.ndarray, options: Options) -> np.ndarray:
        """Restores an image.

        Args:
            pixels: uint8 or uint16, [H, W] or [H, W, 3].
            options: How to restore it.

        Returns:
            The restored image, of the same shape and dtype.
        """
        job = _Job(pixels, options, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        try:
            return await job.done
        except asyncio.CancelledError:  # the client has gone
            with contextlib.suppress(ValueError):
                self._jobs.remove(job)
            raise

    async def run(self) -> None:
        """Restores images until it is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "restore") as thread:
            while True:
                batch = await self._next()
                images = [job.pixels for job in batch]
                stacked = np.stack(images) if len(images) > 1 else images[0]
                try:
                    restored = await loop.run_in_executor(
                        thread, self._restore, stacked, batch[0].options
                    )
                except Exception as error:  # the answer of these requests; others are served
                    for job in batch:
                        if not job.done.done():
                            job.done.set_exception(error)
                    continue
                self.batches += 1
                self.images += len(batch)
                results = restored if len(batch) > 1 else [restored]
                for job, result in zip(batch, results, strict=True):
                    if not job.done.done():
                        job.done.set_result(result)

    async def _next(self) -> list[_Job]:
        """Waits for an image and returns it with the others that fit into its batch."""
        while True:
            self._arrived.clear()
            if self._jobs:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full(), _WAIT_SECONDS)
                if self._jobs:  # unless all clients have gone
                    return self._take()
            else:
                await self._arrived.wait()

    async def _full(self) -> None:
        while self._jobs and len(self._fitting()) < self._room():
            self._arrived.clear()
            await self._arrived.wait()

    def _room(self) -> int:
        height, width = self._jobs[0].pixels.shape[:2]
        return max(1, self._pixels_at_once // (height * width))

    def _fitting(self) -> list[_Job]:
        first = self._jobs[0]
        return [job for job in self._jobs if job is first or first.fits(job)]

    def _take(self) -> list[_Job]:
        batch = self._fitting()[: self._room()]
        self._jobs = collections.deque(job for job in self._jobs if job not in batch)
        return batch
