"""Puts whole frames together from the tiles of a split."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A frame of which every pixel is known.

    Attributes:
        scene: Name of its scene.
        name: Name of the frame.
        images: Versions of it by key, [height, width, 3] with the dtype of their tiles.
    """

    scene: str
    name: str
    images: Mapping[Any, np.ndarray]


class Stitcher:
    """Collects tiles by scene, frame, top and left, and returns frames as they become complete.

    Pixels that several tiles hold are averaged; tiles that come after a frame is complete are
    ignored. An image that is no tile but a whole frame is ignored, too.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Canvas] = {}
        self._done: set[tuple[str, str]] = set()

    @property
    def incomplete(self) -> int:
        """Number of frames that lack tiles so far."""
        return len(self._open)

    def add(
        self, scene: str, frame: str, place: np.ndarray, images: Mapping[Any, np.ndarray]
    ) -> Frame | None:
        """Adds a tile; returns its frame if that completes it.

        Args:
            scene: Name of its scene.
            frame: Name of its frame.
            place: Top and left of the tile, height and width of the frame: [4].
            images: Versions of the tile by key, [h, w, 3].
        """
        top, left, height, width = (int(number) for number in place)
        key = (scene, frame)
        shape = next(iter(images.values())).shape[:2]
        if shape == (height, width) or key in self._done:
            return None
        canvas = self._open.setdefault(key, _Canvas(height, width))
        canvas.add(top, left, images)
        if not canvas.covered:
            return None
        del self._open[key]
        self._done.add(key)
        return Frame(scene, frame, canvas.images())


class _Canvas:
    """Sums of the tiles of one frame, and how many tiles hold each pixel."""

    def __init__(self, height: int, width: int) -> None:
        self._counts = np.zeros((height, width, 1), np.int32)
        self._sums: dict[Any, np.ndarray] = {}
        self._dtypes: dict[Any, np.dtype[Any]] = {}

    @property
    def covered(self) -> bool:
        return bool(self._counts.all())

    def add(self, top: int, left: int, images: Mapping[Any, np.ndarray]) -> None:
        for key, image in images.items():
            area = np.s_[top : top + image.shape[0], left : left + image.shape[1]]
            total = self._sums.setdefault(key, np.zeros((*self._counts.shape[:2], 3), np.float32))
            total[area] += image
            self._dtypes[key] = image.dtype
        self._counts[area] += 1

    def images(self) -> dict[Any, np.ndarray]:
        found = {}
        for key, total in self._sums.items():
            mean = total / self._counts
            exact = np.issubdtype(self._dtypes[key], np.integer)
            found[key] = (np.rint(mean) if exact else mean).astype(self._dtypes[key])
        return found
