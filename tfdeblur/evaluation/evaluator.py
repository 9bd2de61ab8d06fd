"""Evaluates networks on a split: restores every image, measures it and keeps every value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tqdm

from tfdeblur.errors import DataError
from tfdeblur.evaluation.frames import FrameScores, is_tiled, versions
from tfdeblur.evaluation.losses import GeneratorLoss
from tfdeblur.evaluation.measuring import LOST_GRADIENT, Columns, Restore, SizePass, shared_batch
from tfdeblur.evaluation.scores import (
    BLURRED,
    REGIONS,
    RESTORED,
    ScoreCard,
    Setting,
    sizes_text,
)
from tfdeblur.evaluation.stitching import Frame
from tfdeblur.execution import Executor, default_executor
from tfdeblur.metrics import METRICS, Metric
from tfdeblur.ops.lazy import tensorflow as tf


class PairSource(Protocol):
    """A split of images of one size.

    Attributes:
        records: Number of images.
    """

    records: int

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Returns the split once, in order, in batches of static shape.

        Elements hold `blurred` and `sharp` (uint8 [b, h, w, 3]), `scene` and `frame` (string
        [b]) and `valid` (bool [b]), which is False for images that pad the last batch.
        """


@runtime_checkable
class SizedSource(Protocol):
    """A split whose images may differ in size; `data.evaluation.EvaluationData` is one."""

    def by_size(self) -> Sequence[PairSource]:
        """Returns a split for each size; one after another they hold the images in order."""


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

    Images of each size go through graphs of static shape; every image has the same weight. What
    is measured is measured on all sizes, so that means cover the whole split: metrics and crops
    that do not fit the smallest images are omitted.

    The network's variables are read in each run, so it follows a training. The scores of the
    blurred input are measured in the first run and reused.

    Args:
        networks: Restoring functions by state, such as `restored`; each is traced once for each
            size of images.
        data: The split.
        batch_size: Images per batch over all devices, at most all of one size, rounded up to a
            multiple of the number of devices. It affects time and memory, not the scores.
        metrics: The metrics, the quick ones if unset; those whose `min_size` exceeds the smallest
            images are omitted.
        values: Of the restored images: `float` as they are, `uint8` rounded.
        crop: Height and width of crops that are restored and measured on their own, in addition to
            whole images. Ignored unless they fit in all images and are smaller than some.
        timed: Whether to measure the time of each network.
        frames: How many whole frames to keep if the images are tiles: these are put together and
            measured, too. None does not put frames together.
        executor: Runs networks and metrics; on TensorFlow's current strategy if unset. Scores
            and their order do not depend on the number of its devices.
        loss: The loss of the network `restored`, which is measured on whole images. Its network
            replaces that one.
        on_host: Whether the networks are not traced, but called with arrays and return clipped
            ones, as `Restorer.deblur` does. Without `loss`.
    """

    def __init__(
        self,
        networks: Mapping[str, Restore],
        data: PairSource | SizedSource,
        *,
        batch_size: int,
        metrics: Sequence[Metric] | None = None,
        values: Sequence[str] = ("float",),
        crop: tuple[int, int] | None = None,
        timed: bool = False,
        frames: int | None = None,
        executor: Executor | None = None,
        loss: GeneratorLoss | None = None,
        on_host: bool = False,
    ) -> None:
        if metrics is None:
            # Now: plug-ins may have registered some.
            metrics = [metric for metric in METRICS.values() if metric.quick]
        self._executor = executor or default_executor()
        devices = self._executor.devices
        # The files of arrays from Python exist as long as it does.
        self._data = data
        parts = data.by_size() if isinstance(data, SizedSource) else [data]
        datasets = []
        for part in parts:
            datasets.append(part.dataset(shared_batch(batch_size, part.records, devices)))
        sizes = [tuple(one.element_spec["blurred"].shape[1:3]) for one in datasets]
        smallest = (min(height for height, _ in sizes), min(width for _, width in sizes))
        fitting = [metric for metric in metrics if metric.fits(*smallest)]
        self._omitted = [m for m in metrics if m.compute and not m.fits(*smallest)]
        fits = crop is not None and crop[0] <= smallest[0] and crop[1] <= smallest[1]
        self._crop = crop if fits and any(size != crop for size in sizes) else None
        self._timed = timed
        self._metrics = list(metrics)
        self._frames = frames
        self._kept: list[Frame] = []
        self._states = list(networks)
        self._records = [part.records for part in parts]
        self._passes = [
            SizePass(
                networks,
                dataset,
                metrics=fitting,
                crop=self._crop,
                crop_metrics=[
                    m for m in metrics if crop and m.fits(*crop) and not m.whole_images_only
                ],
                values=values,
                executor=self._executor,
                loss=loss,
                on_host=on_host,
            )
            for dataset in datasets
        ]
        self._inputs: dict[int, Triplet] = {}
        self._baseline: Columns = {}
        self._batches: int | None = None

    @property
    def has_crops(self) -> bool:
        """Whether crops are measured."""
        return self._crop is not None

    def run(
        self,
        *,
        about: Mapping[str, Any] | None = None,
        before_batch: Callable[[], object] = lambda: None,
    ) -> ScoreCard:
        """Evaluates the whole split once.

        Args:
            about: Stored in the score card, with the sizes of the images if they differ, and the
                metrics that do not fit the smallest.
            before_batch: Called before each batch; it may end the run by raising.

        Raises:
            DataError: The split is empty.
        """
        parts: list[Columns] = []
        facts: dict[str, list[Any]] = {"differs": [], "scenes": [], "frames": []}
        timed = self._states if self._timed else []
        seconds: list[dict[str, list[float]]] = [
            {state: [] for state in timed} for _ in self._passes
        ]
        stitched: FrameScores | None = None
        for place, batch in self._bar():
            before_batch()
            valid = np.asarray(batch["valid"])
            if self._frames is not None and stitched is None and is_tiled(batch):
                stitched = FrameScores(self._metrics, self._executor, self._frames)
            restored: dict[Setting, np.ndarray] = {}
            keep = None if stitched is None else restored.__setitem__
            one = self._passes[place]
            columns = one.measure(batch, not self._baseline, seconds[place], keep)
            if stitched is not None:
                stitched.add(batch, restored)
            parts.append({s: {m: v[valid] for m, v in c.items()} for s, c in columns.items()})
            blurred, sharp = (np.asarray(batch[half]) for half in ("blurred", "sharp"))
            facts["differs"].extend(np.any(blurred != sharp, axis=(1, 2, 3))[valid])
            for name in ("scene", "frame"):
                facts[f"{name}s"].extend(text.decode() for text in np.asarray(batch[name])[valid])
        found = {
            setting: {m: np.concatenate([part[setting][m] for part in parts]) for m in columns}
            for setting, columns in parts[0].items()
        }
        self._baseline = self._baseline or {s: c for s, c in found.items() if s.state == BLURRED}
        found = {**self._baseline, **found}
        lost = found[Setting(BLURRED, "uint8", "whole")][LOST_GRADIENT]
        about = {**(about or {}), **self._about_sizes()}
        frames = None if stitched is None else stitched.card(about)
        if stitched is not None:
            self._kept = stitched.kept
            height, width = self._passes[0].size
            about["whole_images"] = f"tiles of {width}x{height}"
        return ScoreCard(
            values={
                setting: {m: v for m, v in found[setting].items() if m != LOST_GRADIENT}
                for setting in sorted(found, key=lambda setting: REGIONS.index(setting.region))
            },
            differs=np.array(facts["differs"], bool),
            lost_gradient=lost,
            scenes=facts["scenes"],
            frames=facts["frames"],
            # The first call of a network for each size traces and compiles it.
            seconds={state: [t for one in seconds for t in one[state][1:]] for state in timed},
            about=about,
            whole_frames=frames,
        )

    def _about_sizes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if len(self._passes) > 1:
            found["image_sizes"] = sizes_text([part.size for part in self._passes])
        if self._omitted:
            found["omitted_metrics"] = {
                m.key: f"needs {m.min_size}x{m.min_size} pixels" for m in self._omitted
            }
        return found

    def frames(self, primary: Setting) -> list[Triplet]:
        """Returns the whole frames that the last run has kept, restored under a setting."""
        return [
            Triplet(index=index, scene=frame.scene, frame=frame.name, **versions(frame, primary))
            for index, frame in enumerate(self._kept)
        ]

    def triplets(self, state: str = RESTORED) -> Iterator[Triplet]:
        """Restores the whole split without measuring it.

        Args:
            state: The network.

        Yields:
            The images in order.

        Raises:
            DataError: The split is empty.
        """
        first = 0
        for place, batch in self._bar():
            places = np.flatnonzero(batch["valid"])
            restored = self._passes[place].restore(state, batch["blurred"])
            yield from _triplets(batch, restored, places, first)
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
        restored: dict[int, np.ndarray] = {}
        for one in self._passes:
            same = [triplet for triplet in found if triplet.blurred.shape[:2] == one.size]
            for first in range(0, len(same), one.batch_size):
                # Padded to the batch size that is already traced.
                part = [*same[first:], *[same[0]] * one.batch_size][: one.batch_size]
                images = one.restore(state, np.stack([triplet.blurred for triplet in part]))
                restored |= {t.index: image for t, image in zip(part, images, strict=True)}
        return [dataclasses.replace(triplet, restored=restored[triplet.index]) for triplet in found]

    def _read(self, wanted: set[int]) -> None:
        """Caches the inputs and targets of some images; `restored` is left empty."""
        begin = 0
        for one, records in zip(self._passes, self._records, strict=True):
            inside = {index - begin for index in wanted if begin <= index < begin + records}
            first = 0
            for batch in one.dataset if inside else ():
                places = np.flatnonzero(batch["valid"])
                chosen = np.array([p for p in places if first + p in inside], int)
                if chosen.size:
                    empty = np.empty((len(batch["valid"]), 0, 0, 3), np.uint8)
                    found = _triplets(batch, empty, chosen, begin + first)
                    self._inputs |= {triplet.index: triplet for triplet in found}
                first += len(places)
                if first > max(inside):
                    break
            begin += records

    def _bar(self) -> Iterator[tuple[int, dict[str, tf.Tensor]]]:
        """Iterates over the batches, with the index of their size.

        Their number is known from the second time on.
        """
        done = 0
        lengths = [_length(one.dataset) for one in self._passes]
        known = None if None in lengths else sum(length or 0 for length in lengths)
        bar = tqdm.tqdm(
            ((place, batch) for place, one in enumerate(self._passes) for batch in one.dataset),
            desc="evaluating",
            unit="batch",
            total=self._batches or known,
            disable=None,
            leave=False,
        )
        for found in bar:
            yield found
            done += 1
        if not done:
            raise DataError("The split holds no images to evaluate.")
        self._batches = done


def _length(dataset: tf.data.Dataset) -> int | None:
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _triplets(
    batch: Mapping[str, tf.Tensor], restored: np.ndarray, places: np.ndarray, first: int
) -> list[Triplet]:
    names = ("blurred", "sharp", "scene", "frame")
    blurred, sharp, scenes, frames = (np.asarray(batch[name]) for name in names)
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
