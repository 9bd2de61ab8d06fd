"""Pixel formats of video frames: conversion to upright RGB arrays."""

import dataclasses
from typing import Any

import numpy as np

from tfdeblur.errors import UserError

# FFmpeg's numbers for color matrices and value ranges, in frames and in `reformat`.
BT709, RGB, UNSPECIFIED, BT601 = 1, 0, 2, 5
LIMITED, FULL = 1, 2
_HD_ROWS = 720


@dataclasses.dataclass(frozen=True)
class Look:
    """Pixel format, color and orientation of a video.

    Attributes:
        kind: Name of the pixel format in the file.
        deep: Whether it has more than 8 bits.
        matrix: Conversion from luma and chroma to RGB.
        span: Range of the values, limited or full.
        turn: Rows of the display matrix, which holds rotation and mirroring.
    """

    kind: str
    deep: bool
    matrix: int
    span: int
    turn: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(cls, frame: Any) -> "Look":
        """Returns the format of a decoded frame, with the defaults of players for unset fields."""
        matrix = frame.colorspace
        if not any(part.is_luma for part in frame.format.components):
            matrix = RGB
        elif matrix == UNSPECIFIED:
            matrix = BT709 if frame.height >= _HD_ROWS else BT601
        kind = kind_of(frame)
        # The deprecated yuvj formats have full range.
        full = frame.color_range == FULL or kind != frame.format.name or matrix == RGB
        return cls(
            kind=kind,
            deep=max(part.bits for part in frame.format.components) > 8,
            matrix=matrix,
            span=FULL if full else LIMITED,
            turn=_turn(frame),
        )

    @property
    def transposed(self) -> bool:
        """Whether the rotation swaps height and width."""
        return self.turn[0][0] == 0

    def pixels(self, frame: Any) -> np.ndarray:
        """Returns an upright frame, [H, W, 3] RGB, uint8 or uint16."""
        array = frame.reformat(
            format="rgb48le" if self.deep else "rgb24",
            interpolation=interpolation(),
            src_colorspace=None if self.matrix == RGB else self.matrix,
            src_color_range=self.span,
            dst_color_range=FULL,
        ).to_ndarray()
        (a, b), (c, d) = self.turn
        if self.transposed:
            array = array.swapaxes(0, 1)
            a, d = c, b
        return np.ascontiguousarray(array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def kind_of(frame: Any) -> str:
    """Returns the name of a frame's pixel format.

    The deprecated names with a J are the same formats with full range.
    """
    name: str = frame.format.name
    return name.replace("yuvj", "yuv")


def _turn(frame: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the signs of the display matrix: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return ((1, 0), (0, 1))
    matrix = np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    # Rounded to quarter turns by the larger axis.
    straight = abs(matrix[0, 0]) >= abs(matrix[0, 1])
    kept = np.sign(matrix) * (np.eye(2, dtype=np.int64) if straight else 1 - np.eye(2, dtype=int))
    (a, b), (c, d) = kept.tolist()
    return ((a, b), (c, d))


def interpolation() -> Any:
    """Returns flags for bicubic chroma, and rounding instead of truncation."""
    kinds = pyav().video.reformatter.Interpolation
    return kinds.BICUBIC | kinds.FULL_CHR_H_INT | kinds.FULL_CHR_H_INP | kinds.ACCURATE_RND


def pyav() -> Any:
    """Returns the module `av`.

    Raises:
        UserError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("Videos need PyAV: pip install 'tfdeblur[video]' (or av).") from error
    return av
