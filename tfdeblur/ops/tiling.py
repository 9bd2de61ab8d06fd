"""Geometry of tiles in a frame, and weights for blending overlapping tiles, in NumPy."""

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
    """Returns the central crop of a frame, at most `side` pixels high and wide."""
    rows, columns = min(height, side), min(width, side)
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


def starts(length: int, tile: int, stride: int, cover: bool) -> list[int]:
    """Returns the offsets of tiles along one axis.

    Args:
        length: Size of the frame in pixels, at least `tile`.
        tile: Size of a tile in pixels.
        stride: Distance between the offsets of neighbors, at least 1.
        cover: Whether to cover the whole axis: adds a last tile that ends at the border, and
            limits the stride to the size of the tile.

    Raises:
        ValueError: The tile is larger than the frame, or a size is not positive.
    """
    if min(length, tile, stride) < 1:
        raise ValueError(
            f"Sizes and strides must be at least 1. Received: {length}, {tile}, {stride}."
        )
    if tile > length:
        raise ValueError(f"A tile of {tile} pixels does not fit in {length}.")
    if cover:
        stride = min(stride, tile)
    offsets = list(range(0, length - tile + 1, stride))
    if cover and offsets[-1] + tile < length:
        offsets.append(length - tile)
    return offsets


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
        cover: Whether to cover every pixel, by extra tiles at the bottom and right border. If
            False, remainders there belong to no tile.

    Raises:
        ValueError: A tile is larger than the frame, or a size is not positive.
    """
    return [
        Box(top, left, tile_height, tile_width)
        for top in starts(height, tile_height, stride_height, cover)
        for left in starts(width, tile_width, stride_width, cover)
    ]


def mirror_up_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pads [H, W, C] by reflection at the bottom and right to at least `height` and `width`."""
    missing = [(0, max(height - image.shape[0], 0)), (0, max(width - image.shape[1], 0))]
    return np.pad(image, [*missing, (0, 0)], mode="reflect") if np.any(missing) else image


def blending_weights(box: Box, height: int, width: int, overlap: int) -> np.ndarray:
    """Returns the blending weight of each pixel of a restored tile.

    The weight is zero in the margin (the outer quarter of the overlap), where the network lacked
    context, except at the border of the frame; it rises over the rest of the overlap to one.

    Args:
        box: The tile.
        height: Rows of the frame.
        width: Columns of the frame.
        overlap: Pixels that neighboring tiles share.

    Returns:
        float32 [tile_height, tile_width, 1], in [0, 1].
    """
    margin = overlap // 4
    rows, columns, seam = box.height - 2 * margin, box.width - 2 * margin, overlap - 2 * margin
    weights = np.pad(feather(rows, columns, seam, seam), margin, mode="edge")
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
    """Returns linear blending weights of a tile.

    The weight falls linearly over the overlap towards each side and is never zero, so the weighted
    sum of all tiles can be divided by the sum of their weights. The weights of two neighbors with
    exactly this overlap sum to one in the overlap.

    Args:
        tile_height: Rows of a tile.
        tile_width: Columns of a tile.
        overlap_height: Rows that neighboring tiles share.
        overlap_width: Columns that neighboring tiles share.

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
