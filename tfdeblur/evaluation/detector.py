"""COCO object detection with a YOLOX network in an ONNX file, through OpenCV.

Pictures are scaled to fit the network's square input, keeping the aspect ratio, and padded with
gray at the bottom and the right. The network takes BGR in 0..255 and returns for each cell of three
grids (strides 8, 16 and 32) a box, an objectness and one score per class.

Reference: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", section 2.2 (a head without anchors).
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from tfdeblur.cli.environment import require_opencv
from tfdeblur.errors import UserError
from tfdeblur.io import files

STRIDES = (8, 16, 32)
GRAY = 114
MIN_SCORE = 0.3
NMS_IOU = 0.45


@dataclasses.dataclass(frozen=True)
class Detections:
    """Detections in one picture, by decreasing score.

    Attributes:
        boxes: float32 [n, 4]: left, top, right, bottom in pixels of the picture.
        scores: float32 [n], objectness times class score, in [0, 1].
        classes: int [n].
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


class Detector:
    """Finds objects in pictures.

    Args:
        path: ONNX file of a YOLOX network whose head is not decoded.
        size: Side of its square input, a multiple of 32.
        names: Text file with one class name per line; classes are numbered without it.
        min_score: Minimum score of a detection.
        nms_iou: Of two boxes of one class with a larger IoU, the one with the higher score is kept.

    Attributes:
        names: Class names; empty without a file of them.
        sha256: Digest of the ONNX file.

    Raises:
        UserError: OpenCV is missing, or cannot read the file.
    """

    def __init__(
        self,
        path: str,
        *,
        size: int = 416,
        names: str = "",
        min_score: float = MIN_SCORE,
        nms_iou: float = NMS_IOU,
    ) -> None:
        if size < 1 or size % max(STRIDES):
            raise UserError(f"detector_size: {size} is not a multiple of {max(STRIDES)}.")
        self._cv2 = require_opencv("Detection", "detection")
        self._path, self._size = path, size
        self._min_score, self._nms_iou = min_score, nms_iou
        self._cells = _cells(size)
        self.names = files.read_text(names).splitlines() if names else []
        data = files.read_bytes(path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._network = self._cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except self._cv2.error as error:
            raise UserError(
                f"{path} is not an ONNX network that OpenCV can read: {error}"
            ) from error

    def __call__(self, image: np.ndarray) -> Detections:
        """Detects objects in a picture, RGB, uint8 [h, w, 3]."""
        blob, scale = letterbox(self._cv2, image, self._size)
        try:
            self._network.setInput(blob)
            raw = np.asarray(self._network.forward())
        except self._cv2.error as error:
            raise UserError(
                f"{self._path} does not accept pictures of {self._size}x{self._size}; give its "
                f"input size with --detector-size. OpenCV error: {error}"
            ) from error
        if raw.ndim != 3 or raw.shape[:2] != (1, len(self._cells)) or raw.shape[2] < 6:
            raise UserError(
                f"{self._path} returns {list(raw.shape)}; a YOLOX network of {self._size}x"
                f"{self._size} returns [1, {len(self._cells)}, 5 + classes]. Give the input size "
                "with --detector-size, and a network whose head is not decoded."
            )
        found = decode(raw[0], self._cells, self._min_score, self._nms_iou)
        height, width = image.shape[:2]
        limit = np.array([width, height, width, height], np.float32)
        return dataclasses.replace(found, boxes=np.clip(found.boxes / scale, 0, limit))

    def name(self, number: int) -> str:
        """Returns the name of a class."""
        return self.names[number] if number < len(self.names) else f"class {number}"


def letterbox(cv2: Any, image: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Returns the network's input, float32 [1, 3, size, size], and the scale of the picture."""
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    shown = (max(round(width * scale), 1), max(round(height * scale), 1))
    canvas = np.full((size, size, 3), GRAY, np.uint8)
    canvas[: shown[1], : shown[0]] = cv2.resize(image, shown, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None], np.float32), scale


def _cells(size: int) -> np.ndarray:
    """Returns column, row and stride of every cell, float32 [cells, 3], in the head's order."""
    parts = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size // stride, : size // stride]
        strides = np.full(rows.size, stride)
        parts.append(np.stack([columns.ravel(), rows.ravel(), strides], axis=1))
    return np.concatenate(parts).astype(np.float32)


def decode(raw: np.ndarray, cells: np.ndarray, min_score: float, nms_iou: float) -> Detections:
    """Decodes the boxes of a YOLOX head.

    Args:
        raw: float32 [cells, 5 + classes]: offset of the center from the cell in cells,
            logarithm of the size in cells, objectness, class scores.
        cells: float32 [cells, 3]: column, row, stride.
        min_score: See `Detector`.
        nms_iou: See `Detector`.

    Returns:
        Boxes in pixels of the network's input.
    """
    classes = raw[:, 5:].argmax(axis=1)
    scores = raw[:, 4] * raw[np.arange(len(raw)), 5 + classes]
    likely = np.flatnonzero(scores >= min_score)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    stride = cells[likely, 2:]
    centers = (raw[likely, :2] + cells[likely, :2]) * stride
    half = np.exp(raw[likely, 2:4]) * stride / 2
    boxes = np.concatenate([centers - half, centers + half], axis=1)
    kept: list[int] = []
    overlaps = iou(boxes, boxes)
    for place in range(len(likely)):
        same_class = [k for k in kept if classes[likely[k]] == classes[likely[place]]]
        if not (overlaps[place, same_class] > nms_iou).any():
            kept.append(place)
    return Detections(boxes[kept], scores[likely[kept]], classes[likely[kept]])


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of boxes, [n, m].

    Args:
        first: Boxes [n, 4]: left, top, right, bottom.
        second: Boxes [m, 4].
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
