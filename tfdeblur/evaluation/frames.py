"""Scores of whole frames, which are put together while their tiles are evaluated."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.measuring import Scorer, lost_gradient
from tfdeblur.evaluation.scores import BLURRED, RESTORED, ScoreCard, Setting
from tfdeblur.evaluation.stitching import Frame, Stitcher
from tfdeblur.execution import Executor
from tfdeblur.metrics import Metric
from tfdeblur.ops import imaging

BASELINE = Setting(BLURRED, "uint8", "whole")
SHARP = "sharp"


def is_tiled(batch: Mapping[str, Any]) -> bool:
    """Returns whether the images of a batch are parts of larger frames."""
    if "place" not in batch:
        return False
    frames = np.asarray(batch["place"])[np.asarray(batch["valid"]), 2:]
    return bool(np.any(frames != batch["sharp"].shape[1:3]))


class FrameScores:
    """Measures frames one by one: given whole, or stitched as soon as their tiles are complete.

    Args:
        metrics: The metrics; those whose `min_size` exceeds a frame are omitted.
        executor: Runs the metrics.
        keep: How many frames to keep for pages, the first ones.

    Attributes:
        kept: These frames.
    """

    def __init__(self, metrics: Sequence[Metric], executor: Executor, keep: int) -> None:
        self._metrics = metrics
        self._executor = executor
        self._keep = keep
        self._stitcher = Stitcher()
        self._scorers: dict[tuple[int, int], Scorer] = {}
        self._lost_gradient: Callable[..., Any] = executor.compile(lost_gradient)
        self._rows: list[tuple[Frame, dict[Setting, dict[str, float]], float, bool]] = []
        self._tile = (0, 0)
        self.kept: list[Frame] = []

    def add(self, batch: Mapping[str, Any], restored: Mapping[Setting, np.ndarray]) -> None:
        """Adds the tiles of a batch with their restored versions by setting."""
        arrays = {name: np.asarray(batch[name]) for name in ("blurred", "sharp", "place", "valid")}
        scenes, frames = np.asarray(batch["scene"]), np.asarray(batch["frame"])
        self._tile = arrays["sharp"].shape[1:3]
        for row in np.flatnonzero(arrays["valid"]):
            images: dict[Any, np.ndarray] = {
                SHARP: arrays["sharp"][row],
                BASELINE: arrays["blurred"][row],
                **{setting: found[row] for setting, found in restored.items()},
            }
            place = arrays["place"][row]
            frame = self._stitcher.add(scenes[row].decode(), frames[row].decode(), place, images)
            if frame is not None:
                self.measure(frame)

    def measure(self, frame: Frame) -> None:
        """Measures a frame: `SHARP`, the versions by setting, and `BASELINE` if there is one."""
        sharp = frame.images[SHARP]
        size = sharp.shape[:2]
        if size not in self._scorers:
            fitting = [metric for metric in self._metrics if metric.fits(*size)]
            self._scorers[size] = Scorer(fitting, self._executor)
        scorer = self._scorers[size]
        placed = self._placed(sharp)
        prepared = scorer.prepare(placed)
        values = {}
        for setting, image in frame.images.items():
            if setting != SHARP:
                scores = scorer.score(placed, prepared, self._placed(image))
                columns = scorer.columns(scores, limited=False)
                values[setting] = {key: float(column[0]) for key, column in columns.items()}
        lost, differs = math.nan, True
        if BASELINE in frame.images:
            blurred = frame.images[BASELINE]
            found = self._executor.fetch(self._lost_gradient(placed, self._placed(blurred)))
            lost = float(found[0])
            differs = bool(np.any(blurred != sharp))
        kept = len(self.kept) < self._keep
        if kept:
            self.kept.append(frame)
        empty = dataclasses.replace(frame, images={})
        self._rows.append((empty, values, lost, differs))

    def _placed(self, image: np.ndarray) -> Any:
        """Returns a batch of a frame, one for each device."""
        return self._executor.place(np.repeat(image[np.newaxis], self._executor.devices, axis=0))

    def card(self, about: Mapping[str, Any]) -> ScoreCard | None:
        """Returns the scores of all complete frames; None without any."""
        if not self._rows:
            return None
        columns: dict[Setting, dict[str, list[float]]] = {}
        for _, values, _, _ in self._rows:
            for setting, found in values.items():
                known = columns.setdefault(setting, collections.defaultdict(list))
                for key, value in found.items():
                    known[key].append(value)
        count = len(self._rows)
        sizes = ", ".join(f"{width}x{height}" for height, width in self._scorers)
        height, width = self._tile
        whole = f"whole frames of {sizes}, stitched from tiles of {width}x{height}"
        return ScoreCard(
            values={
                setting: {k: np.array(v) for k, v in found.items() if len(v) == count}
                for setting, found in columns.items()
            },
            differs=np.array([differs for *_, differs in self._rows], bool),
            lost_gradient=np.array([lost for _, _, lost, _ in self._rows]),
            scenes=[frame.scene for frame, *_ in self._rows],
            frames=[frame.name for frame, *_ in self._rows],
            about={
                **about,
                **({"whole_images": whole} if self._tile != (0, 0) else {}),
                **({"incomplete_frames": n} if (n := self._stitcher.incomplete) else {}),
            },
        )


def versions(frame: Frame, primary: Setting) -> dict[str, np.ndarray]:
    """Returns a frame as `blurred`, `restored` and `sharp`, uint8 [h, w, 3]."""
    restored = frame.images.get(primary, frame.images.get(Setting(RESTORED, "float", "whole")))
    return {
        "blurred": frame.images[BASELINE],
        "restored": np.asarray(imaging.to_uint8(restored)),
        "sharp": frame.images[SHARP],
    }
