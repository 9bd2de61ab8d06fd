"""Where tiles lie in a frame, and how overlapping tiles are blended. Geometry only, in NumPy."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of pixels: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right of the box."""
        return self.left + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Indices that cut the box out of an array [height, width, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def middle(height: int, width: int, side: int) -> Box:
    """Returns the middle of a frame, at most `side` pixels high and wide."""
    rows, columns = min(height, side), min(width, side)
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


def starts(length: int, tile: int, stride: int, cover: bool) -> list[int]:
    """Returns where tiles start along one side.

    Args:
        length: Pixels of the side, at least `tile`.
        tile: Pixels of a tile.
        stride: Distance from one tile's start to the next, from 1.
        cover: Whether the last tile is shifted in to reach the end. A stride beyond the tile
            would leave gaps, so it is then cut down to the tile.
    """
    if min(length, tile, stride) < 1:
        raise ValueError(f"Sizes and strides are at least 1; got {length}, {tile}, {stride}.")
    if tile > length:
        raise ValueError(f"A tile of {tile} pixels does not fit in {length}.")
    if cover:
        stride = min(stride, tile)
    places = list(range(0, length - tile + 1, stride))
    if cover and places[-1] + tile < length:
        places.append(length - tile)
    return places


def grid(
    height: int,
    width: int,
    tile_height: int,
    tile_width: int,
    stride_height: int,
    stride_width: int,
    cover: bool,
) -> list[Box]:
    """Returns the tiles of a frame, row by row.

    Args:
        height: Rows of the frame.
        width: Columns of the frame.
        tile_height: Rows of a tile, at most `height`.
        tile_width: Columns of a tile, at most `width`.
        stride_height: Rows from one tile to the next.
        stride_width: Columns from one tile to the next.
        cover: False keeps to the grid: whole tiles only, and what is left over at the bottom and
            the right belongs to none. True shifts the last row and column in, so that every
            pixel is covered.

    Raises:
        ValueError: A tile is larger than the frame, or a size is not positive.
    """
    return [
        Box(top, left, tile_height, tile_width)
        for top in starts(height, tile_height, stride_height, cover)
        for left in starts(width, tile_width, stride_width, cover)
    ]


def mirror_up_to(image: np.ndarray, side: int) -> np.ndarray:
    """Mirrors the bottom and right border of [H, W, C] until the image holds one tile."""
    missing = [(0, max(side - size, 0)) for size in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="reflect") if np.any(missing) else image


def blending_weights(box: Box, height: int, width: int, overlap: int) -> np.ndarray:
    """Returns how much each pixel of a tile of a restored frame counts.

    Nothing in the margin, the outer quarter of the overlap, where the network missed the
    surroundings, unless the frame ends there; then a ramp over the seam; then all.

    Args:
        box: The tile, a square.
        height: Rows of the frame.
        width: Columns of the frame.
        overlap: Pixels that a tile shares with the next.

    Returns:
        float32 [side, side, 1], in [0, 1].
    """
    margin = overlap // 4
    inner, seam = box.height - 2 * margin, overlap - 2 * margin
    weights = np.pad(feather(inner, inner, seam, seam), margin, mode="edge")
    for axis, (start, end, size) in enumerate(
        ((box.top, box.bottom, height), (box.left, box.right, width))
    ):
        along = np.moveaxis(weights, axis, 0)
        if start > 0:
            along[:margin] = 0
        if end < size:
            along[len(along) - margin :] = 0
    return weights[..., np.newaxis]


def feather(
    tile_height: int, tile_width: int, overlap_height: int, overlap_width: int
) -> np.ndarray:
    """Returns the weight of each pixel of a tile when overlapping tiles are blended.

    The weight falls linearly towards each side over the overlap and is never zero, so dividing
    the weighted sum of all tiles by the sum of their weights is always possible. Two neighbors
    that overlap by exactly the overlap have weights that sum to the same in the seam as inside.

    Args:
        tile_height: Rows of a tile.
        tile_width: Columns of a tile.
        overlap_height: Rows that a tile shares with the next.
        overlap_width: Columns that a tile shares with the next.

    Returns:
        float32 [tile_height, tile_width], in (0, 1].
    """
    return np.outer(_ramp(tile_height, overlap_height), _ramp(tile_width, overlap_width))


def _ramp(length: int, overlap: int) -> np.ndarray:
    if overlap < 0 or length < 1:
        raise ValueError(f"A tile of {length} pixels cannot overlap by {overlap}.")
    from_edge = np.arange(length, dtype=np.float32) + 1
    rising = np.minimum(from_edge / np.float32(overlap + 1), 1)
    return np.minimum(rising, rising[::-1])
