"""Evaluates networks on a split: restores every image, measures it and keeps every value."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
import tqdm

from tfdeblur.errors import DataError
from tfdeblur.evaluation.scores import BLURRED, REGIONS, RESTORED, ScoreCard, Setting
from tfdeblur.execution import Executor, default_executor
from tfdeblur.metrics import CEILING_DB, METRICS, Metric
from tfdeblur.ops import imaging, tiling

Restore = Callable[[Any], Any]
"""Maps float32 [B, H, W, 3] in [0, 1] to the restored images, which need not be clipped."""

QUICK = tuple(metric for metric in METRICS.values() if metric.quick)
"""The metrics of quick evaluation and of the validation during training."""

_Columns = dict[Setting, dict[str, np.ndarray]]
_LOST_GRADIENT = "lost_gradient"


class PairSource(Protocol):
    """A split; `tfdeblur.data.evaluation.EvaluationData` is one."""

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Returns the split once, in order, in batches of static shape.

        Elements hold `blurred` and `sharp` (uint8 [b, h, w, 3]), `scene` and `frame` (string
        [b]) and `valid` (bool [b]), which is False for images that pad the last batch.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Triplet:
    """An image of a split: input, restored image and target.

    Attributes:
        index: Index in the split.
        blurred: Input, uint8 [h, w, 3].
        restored: Restored image, rounded to uint8 [h, w, 3].
        sharp: Target, uint8 [h, w, 3].
        scene: Name of its scene.
        frame: Name of its frame.
    """

    index: int
    blurred: np.ndarray
    restored: np.ndarray
    sharp: np.ndarray
    scene: str
    frame: str


class SplitEvaluator:
    """Evaluates a network on a split, repeatedly if needed, without retracing it.

    The network's variables are read in each run, so it follows a training. The scores of the
    blurred input are measured in the first run and reused.

    Args:
        networks: Restoring functions by state, such as `restored`; each is traced once.
        data: The split.
        batch_size: Images per batch over all devices, rounded up to a multiple of their number.
            It affects time and memory, not the scores.
        metrics: The metrics; those whose `min_size` exceeds the images are omitted.
        values: Of the restored images: `float` as they are, `uint8` rounded.
        crop: Height and width of crops that are restored and measured on their own, in addition to
            whole images. Ignored unless smaller than the images.
        timed: Whether to measure the time of each network.
        executor: Runs networks and metrics; on TensorFlow's current strategy if unset. Scores
            and their order do not depend on the number of its devices.
    """

    def __init__(
        self,
        networks: Mapping[str, Restore],
        data: PairSource,
        *,
        batch_size: int,
        metrics: Sequence[Metric] = QUICK,
        values: Sequence[str] = ("float",),
        crop: tuple[int, int] | None = None,
        timed: bool = False,
        executor: Executor | None = None,
    ) -> None:
        self._executor = executor or default_executor()
        devices = self._executor.devices
        self._dataset = data.dataset(-(-batch_size // devices) * devices)
        height, width = self._dataset.element_spec["blurred"].shape[1:3]
        self._boxes = _boxes(height, width, crop)
        self._values = values
        self._timed = timed
        self._networks = {
            state: self._executor.compile(functools.partial(_restored, network))
            for state, network in networks.items()
        }
        self._rounded = self._executor.compile(imaging.to_uint8)
        self._lost_gradient = self._executor.compile(lost_gradient)
        self._scorers = {"whole": self._scorer([m for m in metrics if m.fits(height, width)])}
        if crop and self._boxes:
            on_crops = [m for m in metrics if m.fits(*crop) and not m.whole_images_only]
            self._scorers["crops"] = self._scorer(on_crops)
        self._inputs: dict[int, Triplet] = {}
        self._baseline: _Columns = {}
        self._batches: int | None = None

    @property
    def has_crops(self) -> bool:
        """Whether crops are measured."""
        return bool(self._boxes)

    def run(
        self,
        *,
        progress: bool = True,
        about: Mapping[str, Any] | None = None,
        before_batch: Callable[[], object] = lambda: None,
    ) -> ScoreCard:
        """Evaluates the whole split once.

        Args:
            progress: Whether to show a progress bar.
            about: Stored in the score card.
            before_batch: Called before each batch; it may end the run by raising.

        Raises:
            DataError: The split is empty.
        """
        parts: list[_Columns] = []
        facts: dict[str, list[Any]] = {"differs": [], "scenes": [], "frames": []}
        seconds: dict[str, list[float]] = {state: [] for state in self._networks if self._timed}
        for batch in self._bar(progress):
            before_batch()
            valid = batch["valid"].numpy()
            columns = self._measure(batch, with_input=not self._baseline, seconds=seconds)
            parts.append({s: {m: v[valid] for m, v in c.items()} for s, c in columns.items()})
            blurred, sharp = batch["blurred"].numpy(), batch["sharp"].numpy()
            facts["differs"].extend(np.any(blurred != sharp, axis=(1, 2, 3))[valid])
            for name in ("scene", "frame"):
                facts[f"{name}s"].extend(text.decode() for text in batch[name].numpy()[valid])
        found = {
            setting: {m: np.concatenate([part[setting][m] for part in parts]) for m in columns}
            for setting, columns in parts[0].items()
        }
        self._baseline = self._baseline or {s: c for s, c in found.items() if s.state == BLURRED}
        found = {**self._baseline, **found}
        lost = found[Setting(BLURRED, "uint8", "whole")][_LOST_GRADIENT]
        return ScoreCard(
            values={
                setting: {m: v for m, v in found[setting].items() if m != _LOST_GRADIENT}
                for setting in sorted(found, key=lambda setting: REGIONS.index(setting.region))
            },
            differs=np.array(facts["differs"], bool),
            lost_gradient=lost,
            scenes=facts["scenes"],
            frames=facts["frames"],
            # The first call of a network traces and compiles it.
            seconds={state: times[1:] for state, times in seconds.items()},
            about=dict(about or {}),
        )

    def triplets(self, state: str = RESTORED, *, progress: bool = True) -> Iterator[Triplet]:
        """Restores the whole split without measuring it.

        Args:
            state: The network.
            progress: Whether to show a progress bar.

        Yields:
            The images in order.

        Raises:
            DataError: The split is empty.
        """
        first = 0
        for batch in self._bar(progress):
            places = np.flatnonzero(batch["valid"].numpy())
            yield from _triplets(batch, self._images(state, batch["blurred"]), places, first)
            first += len(places)

    def pictures(self, indices: Sequence[int], state: str = RESTORED) -> list[Triplet]:
        """Restores single images.

        Their inputs are cached, so the same images are read from disk once.

        Args:
            indices: Indices in the split, in any order.
            state: The network.

        Returns:
            The images in the order of `indices`, without those that do not exist.
        """
        self._read(set(indices) - self._inputs.keys())
        found = [self._inputs[index] for index in indices if index in self._inputs]
        size = int(self._dataset.element_spec["valid"].shape[0])
        restored: list[np.ndarray] = []
        for first in range(0, len(found), size):
            # Padded to the batch size that is already traced.
            part = [*found[first : first + size], *[found[0]] * size][:size]
            blurred = np.stack([triplet.blurred for triplet in part])
            restored.extend(self._images(state, blurred))
        return [
            dataclasses.replace(triplet, restored=image)
            for triplet, image in zip(found, restored, strict=False)
        ]

    def _read(self, wanted: set[int]) -> None:
        """Caches the inputs and targets of some images; `restored` is left empty."""
        first, last = 0, max(wanted, default=-1)
        for batch in self._dataset if wanted else ():
            places = np.flatnonzero(batch["valid"].numpy())
            inside = np.array([p for p in places if first + p in wanted], int)
            if inside.size:
                empty = np.empty((len(batch["valid"]), 0, 0, 3), np.uint8)
                self._inputs |= {t.index: t for t in _triplets(batch, empty, inside, first)}
            first += len(places)
            if first > last:
                return

    def _bar(self, progress: bool) -> Iterator[dict[str, tf.Tensor]]:
        """Iterates over the batches; their number is known from the second time on."""
        done = 0
        bar = tqdm.tqdm(
            self._dataset,
            desc="evaluating",
            unit="batch",
            total=self._batches or _length(self._dataset),
            disable=None if progress else True,
            leave=False,
        )
        for batch in bar:
            yield batch
            done += 1
        if not done:
            raise DataError("The split holds no images to evaluate.")
        self._batches = done

    def _measure(
        self, batch: Mapping[str, tf.Tensor], with_input: bool, seconds: dict[str, list[float]]
    ) -> _Columns:
        """Measures a batch under every setting; float64 [batch] per metric."""
        columns = self._measure_region(
            "whole", batch["blurred"], batch["sharp"], with_input, seconds
        )
        if not self._boxes:
            return columns
        blurred, sharp = (self._cut(batch[name]) for name in ("blurred", "sharp"))
        crops = self._measure_region("crops", blurred, sharp, with_input, {})
        for setting, found in crops.items():
            by_crop = {metric: v.reshape(len(self._boxes), -1) for metric, v in found.items()}
            # The last box is the center, the others are the grid.
            columns[setting] = {metric: v[:-1].mean(axis=0) for metric, v in by_crop.items()}
            center = dataclasses.replace(setting, region="center")
            columns[center] = {metric: v[-1] for metric, v in by_crop.items()}
        return columns

    def _measure_region(
        self,
        region: str,
        blurred: tf.Tensor,
        sharp: tf.Tensor,
        with_input: bool,
        seconds: dict[str, list[float]],
    ) -> _Columns:
        blurred, sharp = self._executor.place(blurred), self._executor.place(sharp)
        measured = {Setting(BLURRED, "uint8", region): blurred} if with_input else {}
        for state in self._networks:
            restored = self._restore(state, blurred, seconds.get(state))
            for values in self._values:
                images = self._rounded(restored) if values == "uint8" else restored
                measured[Setting(state, values, region)] = images
        scorer = self._scorers[region]
        prepared = scorer.prepare(sharp)
        columns: _Columns = {}
        for setting, images in measured.items():
            scores = self._executor.fetch(scorer.score(sharp, prepared, images)).astype(np.float64)
            columns[setting] = scorer.columns(scores, limited=region != "whole")
        if with_input and region == "whole":
            lost = self._executor.fetch(self._lost_gradient(sharp, blurred)).astype(np.float64)
            columns[Setting(BLURRED, "uint8", region)][_LOST_GRADIENT] = lost
        return columns

    def _restore(self, state: str, blurred: Any, seconds: list[float] | None = None) -> Any:
        begin = time.perf_counter()
        restored = self._networks[state](blurred)
        if seconds is not None:
            self._executor.wait(restored)
            seconds.append((time.perf_counter() - begin) / int(blurred.shape[0]))
        return restored

    def _images(self, state: str, blurred: Any) -> np.ndarray:
        """Returns restored images, uint8 [B, h, w, 3]."""
        return self._executor.fetch(
            self._rounded(self._restore(state, self._executor.place(blurred)))
        )

    def _scorer(self, metrics: Sequence[Metric]) -> "_Scorer":
        return _Scorer([metric for metric in metrics if metric.compute], self._executor)

    def _cut(self, images: tf.Tensor) -> tf.Tensor:
        """Returns all crops of a batch, box by box: [boxes * B, h, w, 3]."""
        parts = [images[:, box.top : box.bottom, box.left : box.right] for box in self._boxes]
        return tf.concat(parts, axis=0)


class _Scorer:
    """Measures images of one size with a fixed list of metrics.

    Attributes:
        prepare: Maps the sharp images to the results of `Metric.prepare` by key.
        score: Maps the sharp images, those results and the images to float32 [B, metrics].
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        executor: Executor,
    ) -> None:
        self._metrics = metrics
        self.prepare = executor.compile(self._prepare)
        self.score = executor.compile(self._score)

    def columns(self, scores: np.ndarray, limited: bool) -> dict[str, np.ndarray]:
        """Returns scores [B, metrics] by key; `limited` applies `CEILING_DB` to PSNRs."""
        # One perfect crop must not make the mean of its image infinite.
        return {
            metric.key: np.minimum(column, CEILING_DB) if limited and metric.is_psnr else column
            for metric, column in zip(self._metrics, scores.T, strict=True)
        }

    def _prepare(self, sharp: Any) -> dict[str, Any]:
        sharp = imaging.uint8_to_unit(sharp)
        return {metric.key: metric.prepare(sharp) for metric in self._metrics if metric.prepare}

    def _score(self, sharp: Any, prepared: Mapping[str, Any], images: Any) -> Any:
        sharp, images = imaging.uint8_to_unit(sharp), _unit(images)
        return keras.ops.stack(
            [m.compute(prepared.get(m.key, sharp), images) for m in self._metrics if m.compute],
            axis=1,
        )


def _restored(network: Restore, blurred: Any) -> Any:
    restored = network(imaging.uint8_to_unit(blurred))
    return keras.ops.clip(keras.ops.cast(restored, "float32"), 0.0, 1.0)


def lost_gradient(sharp: Any, blurred: Any) -> Any:
    """Returns the share of the target's gradient that the input has lost.

    Args:
        sharp: Target images, uint8 [B, H, W, 3] or float32 in [0, 1].
        blurred: Input images of the same shape and range.

    Returns:
        float32 [B]: 1 minus the ratio of the mean absolute differences of neighboring pixels'
        luma. 0 for an input as sharp as the target, 1 for a flat one; noise makes it negative.
    """

    def strength(images: Any) -> Any:
        luma = imaging.luma(_unit(images))
        down, right = luma[:, 1:] - luma[:, :-1], luma[:, :, 1:] - luma[:, :, :-1]
        axes = (1, 2, 3)
        return keras.ops.mean(keras.ops.abs(down), axes) + keras.ops.mean(
            keras.ops.abs(right), axes
        )

    return 1.0 - keras.ops.divide_no_nan(strength(blurred), strength(sharp))


def _unit(images: Any) -> Any:
    is_uint8 = keras.backend.standardize_dtype(images.dtype) == "uint8"
    return imaging.uint8_to_unit(images) if is_uint8 else images


def _boxes(height: int, width: int, crop: tuple[int, int] | None) -> list[tiling.Box]:
    """Returns a grid of crops and then the center; nothing unless crops are smaller."""
    if crop is None or crop[0] > height or crop[1] > width or crop == (height, width):
        return []
    grid = tiling.grid(height, width, *crop, *crop, cover=False)
    center = tiling.Box((height - crop[0]) // 2, (width - crop[1]) // 2, *crop)
    return [*grid, center]


def _length(dataset: tf.data.Dataset) -> int | None:
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _triplets(
    batch: Mapping[str, tf.Tensor], restored: np.ndarray, places: np.ndarray, first: int
) -> list[Triplet]:
    blurred, sharp = batch["blurred"].numpy(), batch["sharp"].numpy()
    scenes, frames = batch["scene"].numpy(), batch["frame"].numpy()
    return [
        Triplet(
            index=first + int(place),
            blurred=blurred[place],
            restored=restored[place],
            sharp=sharp[place],
            scene=scenes[place].decode(),
            frame=frames[place].decode(),
        )
        for place in places
    ]
