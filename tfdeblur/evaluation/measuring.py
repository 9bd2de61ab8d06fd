"""Restores and measures the images of one size; `SplitEvaluator` has one pass for each size."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfdeblur.evaluation.losses import GeneratorLoss
from tfdeblur.evaluation.scores import BLURRED, RESTORED, Setting
from tfdeblur.execution import Executor
from tfdeblur.metrics import CEILING_DB, Metric
from tfdeblur.ops import imaging, tiling

Restore = Callable[[Any], Any]
"""Maps float32 [B, H, W, 3] in [0, 1] to the restored images, which need not be clipped."""

Columns = dict[Setting, dict[str, np.ndarray]]
"""Values by setting and metric, float64 [images]."""

Keep = Callable[[Setting, np.ndarray], None]
"""Receives a setting and a batch of images, float32 in [0, 1] or uint8 [B, h, w, 3]."""

LOST_GRADIENT = "lost_gradient"
"""Key in `Columns` of the blurred input, beside its metrics."""


class SizePass:
    """Measures batches of images of one size, in graphs that are traced once.

    Args:
        networks: See `tfdeblur.evaluation.evaluator.SplitEvaluator`.
        dataset: A `tf.data.Dataset` or `data.memory.ArrayDataset`: batches of one static shape.
        metrics: The metrics of whole images.
        crop: Height and width of the crops to measure; none if unset. At most the images' size.
        crop_metrics: The metrics of crops.
        values: See `SplitEvaluator`.
        executor: Runs networks and metrics.
        loss: See `SplitEvaluator`.
        on_host: See `SplitEvaluator`.

    Attributes:
        dataset: As passed.
        size: Height and width of the images.
        batch_size: Images in a batch.
    """

    def __init__(
        self,
        networks: Mapping[str, Restore],
        dataset: Any,
        *,
        metrics: Sequence[Metric],
        crop: tuple[int, int] | None,
        crop_metrics: Sequence[Metric],
        values: Sequence[str],
        executor: Executor,
        loss: GeneratorLoss | None = None,
        on_host: bool = False,
    ) -> None:
        self.dataset = dataset
        shape = dataset.element_spec["blurred"].shape
        self.batch_size = int(shape[0])
        self.size = (int(shape[1]), int(shape[2]))
        self._executor = executor
        self._values = values
        self._boxes = _boxes(*self.size, crop) if crop else []
        # Functions of its own for each size: one function that is traced for many sizes makes
        # TensorFlow warn about retracing.
        self._networks = {
            state: functools.partial(_restored_on_host, executor, network)
            if on_host
            else executor.compile(functools.partial(_restored, network))
            for state, network in networks.items()
        }
        self._loss_keys = loss.keys if loss else ()
        if loss:
            # Its network restores the images, too.
            self._networks[RESTORED] = executor.compile(functools.partial(_with_outputs, loss))
            self._loss = executor.compile(functools.partial(_losses, loss))
        self._rounded = executor.compile(imaging.to_uint8)
        self._lost_gradient = executor.compile(lost_gradient)
        self._scorers = {"whole": Scorer(metrics, executor)}
        if self._boxes:
            self._scorers["crops"] = Scorer(crop_metrics, executor)

    def measure(
        self,
        batch: Mapping[str, Any],
        with_input: bool,
        seconds: dict[str, list[float]],
        keep: Keep | None = None,
    ) -> Columns:
        """Measures a batch under every setting.

        Args:
            batch: An element of `dataset`.
            with_input: Whether to measure the blurred input, too.
            seconds: The seconds per image of each state in it are appended.
            keep: Receives the restored images of each setting of whole images.

        Returns:
            The values of all images, including those that pad the batch.
        """
        columns = self._measure_region(
            "whole", batch["blurred"], batch["sharp"], with_input, seconds, keep
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
        blurred: Any,
        sharp: Any,
        with_input: bool,
        seconds: dict[str, list[float]],
        keep: Keep | None = None,
    ) -> Columns:
        blurred, sharp = self._executor.place(blurred), self._executor.place(sharp)
        measured = {Setting(BLURRED, "uint8", region): blurred} if with_input else {}
        losses = None
        for state in self._networks:
            restored, outputs = self._restore(state, blurred, seconds.get(state))
            if outputs is not None and region == "whole":
                losses = self._loss(sharp, blurred, outputs)
            for values in self._values:
                images = self._rounded(restored) if values == "uint8" else restored
                measured[Setting(state, values, region)] = images
                if keep is not None:
                    keep(Setting(state, values, region), self._executor.fetch(images))
        scorer = self._scorers[region]
        prepared = scorer.prepare(sharp)
        columns: Columns = {}
        for setting, images in measured.items():
            scores = scorer.score(sharp, prepared, images)
            columns[setting] = scorer.columns(scores, limited=region != "whole")
        if losses is not None:
            found = self._executor.fetch(losses).astype(np.float64)
            own = dict(zip(self._loss_keys, found.T, strict=True))
            columns[Setting(RESTORED, "float", region)].update(own)
        if with_input and region == "whole":
            lost = self._executor.fetch(self._lost_gradient(sharp, blurred)).astype(np.float64)
            columns[Setting(BLURRED, "uint8", region)][LOST_GRADIENT] = lost
        return columns

    def _restore(
        self, state: str, blurred: Any, seconds: list[float] | None = None
    ) -> tuple[Any, Any]:
        """Returns the restored images, and the outputs of the network if its loss takes them."""
        begin = time.perf_counter()
        found = self._networks[state](blurred)
        restored, outputs = found if isinstance(found, tuple) else (found, None)
        if seconds is not None:
            self._executor.wait(restored)
            seconds.append((time.perf_counter() - begin) / int(blurred.shape[0]))
        return restored, outputs

    def restore(self, state: str, blurred: Any) -> np.ndarray:
        """Returns restored images, uint8 [B, h, w, 3]."""
        restored, _ = self._restore(state, self._executor.place(blurred))
        return self._executor.fetch(self._rounded(restored))

    def _cut(self, batch: Any) -> np.ndarray:
        """Returns all crops of a batch, box by box: [boxes * B, h, w, 3]."""
        images = np.asarray(batch)
        parts = [images[:, box.top : box.bottom, box.left : box.right] for box in self._boxes]
        return np.concatenate(parts)


class Scorer:
    """Measures images of one size with a fixed list of metrics.

    Attributes:
        prepare: Maps the sharp images to the results of `Metric.prepare` by key.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        executor: Executor,
    ) -> None:
        found = [metric for metric in metrics if metric.compute]
        self._compiled = [metric for metric in found if not metric.on_host]
        self._on_host = [metric for metric in found if metric.on_host]
        self._executor = executor
        self.prepare = executor.compile(self._prepare)
        self._score = executor.compile(self._compiled_scores)

    def score(self, sharp: Any, prepared: Mapping[str, Any], images: Any) -> np.ndarray:
        """Measures a batch.

        Args:
            sharp: Target images on the devices, uint8 or float32 in [0, 1], [B, H, W, 3].
            prepared: The results of `prepare`.
            images: The images to measure, likewise.

        Returns:
            float64 [B, metrics].
        """
        scores = self._executor.fetch(self._score(sharp, prepared, images)).astype(np.float64)
        if not self._on_host:
            return scores
        pair = [_unit_array(self._executor.fetch(one)) for one in (sharp, images)]
        columns = [m.compute(*pair) for m in self._on_host if m.compute]
        return np.concatenate([scores, np.stack(columns, axis=1)], axis=1)

    def columns(self, scores: np.ndarray, limited: bool) -> dict[str, np.ndarray]:
        """Returns scores [B, metrics] by key; `limited` applies `CEILING_DB` to PSNRs."""
        # One perfect crop must not make the mean of its image infinite.
        return {
            metric.key: np.minimum(column, CEILING_DB) if limited and metric.is_psnr else column
            for metric, column in zip([*self._compiled, *self._on_host], scores.T, strict=True)
        }

    def _prepare(self, sharp: Any) -> dict[str, Any]:
        sharp = imaging.uint8_to_unit(sharp)
        return {metric.key: metric.prepare(sharp) for metric in self._compiled if metric.prepare}

    def _compiled_scores(self, sharp: Any, prepared: Mapping[str, Any], images: Any) -> Any:
        sharp, images = imaging.uint8_to_unit(sharp), _unit(images)
        return keras.ops.stack(
            [m.compute(prepared.get(m.key, sharp), images) for m in self._compiled if m.compute],
            axis=1,
        )


def shared_batch(batch_size: int, records: int, devices: int) -> int:
    """Returns the images of a batch: at most all of them, and a multiple of the devices."""
    return -(-max(1, min(batch_size, records)) // devices) * devices


def _restored(network: Restore, blurred: Any) -> Any:
    return _clipped(network(imaging.uint8_to_unit(blurred)))


def _restored_on_host(executor: Executor, network: Restore, blurred: Any) -> Any:
    return executor.place(network(_unit_array(executor.fetch(blurred))))


def _with_outputs(loss: GeneratorLoss, blurred: Any) -> tuple[Any, Any]:
    restored, outputs = loss.restore(imaging.uint8_to_unit(blurred))
    return _clipped(restored), outputs


def _losses(loss: GeneratorLoss, sharp: Any, blurred: Any, outputs: Any) -> Any:
    return loss.per_example(imaging.uint8_to_unit(sharp), imaging.uint8_to_unit(blurred), outputs)


def _clipped(images: Any) -> Any:
    return keras.ops.clip(keras.ops.cast(images, "float32"), 0.0, 1.0)


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


def _unit_array(images: np.ndarray) -> np.ndarray:
    return images / np.float32(255) if images.dtype == np.uint8 else images


def _boxes(height: int, width: int, crop: tuple[int, int]) -> list[tiling.Box]:
    """Returns a grid of crops and then the center."""
    grid = tiling.grid(height, width, *crop, *crop, cover=False)
    center = tiling.Box((height - crop[0]) // 2, (width - crop[1]) // 2, *crop)
    return [*grid, center]
