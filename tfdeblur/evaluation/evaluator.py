"""One pass over a whole split: restore every image, measure it, keep every value."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tqdm

from tfdeblur.errors import DataError
from tfdeblur.evaluation.scores import METRICS, ScoreCard
from tfdeblur.metrics import basic

Restore = Callable[[tf.Tensor], tf.Tensor]
"""From float32 [B, H, W, 3] in [0, 1] to the restored images, likewise; need not be clipped."""

_MEASURES: dict[str, Callable[[Any, Any], tf.Tensor]] = {
    "psnr_db": basic.psnr_db,
    "ssim": basic.ssim,
    "mse": basic.mse,
    "mae": basic.mae,
    "log_cosh": basic.log_cosh,
}


class PairSource(Protocol):
    """What is needed of a split; `tfdeblur.data.evaluation.EvaluationData` is one."""

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Returns the split once, in its order, in batches of static shape.

        Elements hold `blurred` and `sharp` (uint8 [b, h, w, 3]), `scene` and `frame` (string
        [b]) and `valid` (bool [b]), which is false where the last batch was filled up.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Triple:
    """One image in its three states.

    Attributes:
        index: Its place in the split.
        blurred: uint8 [h, w, 3], the input.
        restored: float32 [h, w, 3] in [0, 1].
        sharp: uint8 [h, w, 3], the truth.
        scene: Name of its scene.
        frame: Name of its frame.
    """

    index: int
    blurred: np.ndarray
    restored: np.ndarray
    sharp: np.ndarray
    scene: str
    frame: str


def evaluate_split(
    restore: Restore,
    data: PairSource,
    *,
    batch_size: int,
    progress: bool = True,
    on_images: Callable[[Sequence[Triple]], None] | None = None,
    measures: Sequence[str] = METRICS,
    baseline: bool = True,
    about: Mapping[str, Any] | None = None,
) -> ScoreCard:
    """Goes over the whole split once and measures every image.

    Whoever judges the same split again and again keeps a `SplitEvaluator` instead.

    Args:
        restore: The network; traced once into a graph.
        data: The split.
        batch_size: Images at a time. It changes the time and the memory, never the numbers.
        progress: Whether to show a bar.
        on_images: Called after each batch with its images.
        measures: Which of `METRICS` to measure.
        baseline: Whether the blurred input is measured too.
        about: Kept in the score card.

    Returns:
        The score card, with every image's values.

    Raises:
        DataError: The split is empty.
    """
    evaluator = SplitEvaluator(restore, data, batch_size=batch_size, measures=measures)
    return evaluator.run(progress=progress, on_images=on_images, baseline=baseline, about=about)


class SplitEvaluator:
    """Judges one network on one split, as often as is asked, with one traced graph.

    The network's variables are read anew each time, so it follows a training. What the blurred
    input scores is measured in the first run that asks for it and remembered.

    Args:
        restore: The network.
        data: The split.
        batch_size: Images at a time, over all replicas; rounded up to a multiple of their number.
        measures: Which of `METRICS` to measure. SSIM is left out by itself where the images are
            smaller than its window.
        strategy: Spreads each batch over this strategy's replicas; `restore` is then called in
            replica context. The numbers and their order are those of one device.
    """

    def __init__(
        self,
        restore: Restore,
        data: PairSource,
        *,
        batch_size: int,
        measures: Sequence[str] = METRICS,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        unknown = set(measures) - set(METRICS)
        if unknown:
            raise ValueError(f"`measures` are of {METRICS}. Received: {sorted(unknown)}.")
        self._restore = restore
        self._strategy = strategy or tf.distribute.get_strategy()
        replicas = self._strategy.num_replicas_in_sync
        self._dataset = data.dataset(-(-batch_size // replicas) * replicas)
        height, width = self._dataset.element_spec["blurred"].shape[1:3]
        too_small = min(height, width) < basic.SSIM_WINDOW
        self._measures = tuple(m for m in measures if not (m == "ssim" and too_small))
        # A partial object: TensorFlow counts traces by a function's code, and would warn of the
        # evaluators of several networks as of one function that is traced again and again.
        self._step = tf.function(functools.partial(self._step_on_replicas))
        self._looked_up: dict[int, Triple] = {}
        self._baseline: dict[str, np.ndarray] | None = None
        self._batches: int | None = None

    def run(
        self,
        *,
        progress: bool = True,
        on_images: Callable[[Sequence[Triple]], None] | None = None,
        baseline: bool = True,
        about: Mapping[str, Any] | None = None,
        before_batch: Callable[[], object] | None = None,
    ) -> ScoreCard:
        """Goes over the split once; see `evaluate_split` for the arguments.

        `before_batch` is called before each batch is measured; it ends the pass by raising.
        """
        measure_input = baseline and self._baseline is None
        names = [f"restored {m}" for m in self._measures]
        names += [f"blurred {m}" for m in self._measures] if measure_input else []
        columns: list[np.ndarray] = []
        scenes: list[str] = []
        frames: list[str] = []
        count = 0
        for batch in self._bar(progress):
            if before_batch is not None:
                before_batch()
            valid = batch["valid"].numpy()
            scores, restored = self._measure(batch, measure_input, on_images is not None)
            columns.append(scores[valid])
            scenes.extend(name.decode() for name in batch["scene"].numpy()[valid])
            frames.extend(name.decode() for name in batch["frame"].numpy()[valid])
            if on_images is not None:
                on_images(_triples(batch, restored, np.flatnonzero(valid), count))
            count += int(valid.sum())
        if not count:
            raise DataError("The split holds no images, so there is nothing to judge.")

        table = np.concatenate(columns)
        differs = table[:, 0] > 0
        values = dict(zip(names, table[:, 1:].T.copy(), strict=True))
        if measure_input:
            self._baseline = {m: values[f"blurred {m}"] for m in self._measures}
        per_image: dict[str, Mapping[str, np.ndarray]] = {}
        if baseline and self._baseline is not None:
            per_image["blurred"] = self._baseline
        per_image["restored"] = {m: values[f"restored {m}"] for m in self._measures}
        return ScoreCard(per_image, differs, scenes, frames, dict(about or {}))

    def pictures(self, indices: Sequence[int]) -> list[Triple]:
        """Restores single images, to be looked at.

        Their inputs are remembered, so looking at the same ones again reads no data.

        Args:
            indices: Places in the split, in any order.

        Returns:
            The images in the order of `indices`; those that do not exist are left out.
        """
        self._look_up(set(indices) - self._looked_up.keys())
        found = [self._looked_up[index] for index in indices if index in self._looked_up]
        if not found:
            return []
        size = int(self._dataset.element_spec["valid"].shape[0])
        restored: list[np.ndarray] = []
        for first in range(0, len(found), size):
            # Filled up to the size of a batch, for which there is a graph already.
            part = [*found[first : first + size], *[found[0]] * size][:size]
            batch = {
                "blurred": tf.constant(np.stack([triple.blurred for triple in part])),
                "sharp": tf.constant(np.stack([triple.sharp for triple in part])),
            }
            restored.extend(self._measure(batch, measure_input=False, with_images=True)[1])
        return [
            dataclasses.replace(triple, restored=image)
            for triple, image in zip(found, restored, strict=False)
        ]

    def _look_up(self, wanted: set[int]) -> None:
        """Reads the inputs and truths of some images; `restored` is left empty."""
        if not wanted:
            return
        first, last = 0, max(wanted)
        for batch in self._dataset:
            places = np.flatnonzero(batch["valid"].numpy())
            inside = np.array([p for p in places if first + p in wanted], int)
            if inside.size:
                empty = np.empty((len(batch["valid"]), 0, 0, 3), np.float32)
                self._looked_up |= {t.index: t for t in _triples(batch, empty, inside, first)}
            first += len(places)
            if first > last:
                return

    def _bar(self, progress: bool) -> Iterator[dict[str, tf.Tensor]]:
        """Iterates over the batches; from the second time on their number is known."""
        done = 0
        bar = tqdm.tqdm(
            self._dataset,
            desc="judging",
            unit="batch",
            total=self._batches or _length(self._dataset),
            disable=None if progress else True,
            leave=False,
        )
        for batch in bar:
            yield batch
            done += 1
        self._batches = done

    def _measure(
        self, batch: Mapping[str, tf.Tensor], measure_input: bool, with_images: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of a batch and, if asked for, its restored images.

        The scores are [B, columns]: whether the input differs, then the measures.
        """
        pair = (batch["blurred"], batch["sharp"])
        replicas = self._strategy.num_replicas_in_sync
        if replicas > 1:
            pair = tuple(self._split(images, replicas) for images in pair)
        outputs = self._step(*pair, measure_input, with_images)
        found = {name: self._gathered(value) for name, value in outputs.items()}
        return found["scores"], found.get("restored", np.empty(0))

    def _gathered(self, value: Any) -> np.ndarray:
        parts = self._strategy.experimental_local_results(value)
        if len(parts) < self._strategy.num_replicas_in_sync:  # the others are in other processes
            parts = (self._strategy.gather(value, axis=0),)
        return np.concatenate([part.numpy() for part in parts])

    def _split(self, images: tf.Tensor, replicas: int) -> Any:
        share = images.shape[0] // replicas
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: images[context.replica_id_in_sync_group * share :][:share]
        )

    def _step_on_replicas(
        self, blurred: Any, sharp: Any, measure_input: bool, with_images: bool
    ) -> Any:
        return self._strategy.run(
            self._step_on_one, (blurred, sharp), {"options": (measure_input, with_images)}
        )

    def _step_on_one(
        self, blurred: tf.Tensor, sharp: tf.Tensor, options: tuple[bool, bool]
    ) -> dict[str, tf.Tensor]:
        measure_input, with_images = options
        differs = tf.reduce_any(tf.not_equal(blurred, sharp), axis=[1, 2, 3])
        degraded, truth = tf.cast(blurred, tf.float32) / 255.0, tf.cast(sharp, tf.float32) / 255.0
        restored = tf.clip_by_value(tf.cast(self._restore(degraded), tf.float32), 0.0, 1.0)
        columns = [tf.cast(differs, tf.float32)]
        columns += [_MEASURES[m](truth, restored) for m in self._measures]
        if measure_input:
            columns += [_MEASURES[m](truth, degraded) for m in self._measures]
        outputs = {"scores": tf.stack(columns, axis=1)}
        return {**outputs, "restored": restored} if with_images else outputs


def _length(dataset: tf.data.Dataset) -> int | None:
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _triples(
    batch: Mapping[str, tf.Tensor], restored: np.ndarray, places: np.ndarray, first: int
) -> list[Triple]:
    blurred, sharp = batch["blurred"].numpy(), batch["sharp"].numpy()
    scenes, frames = batch["scene"].numpy(), batch["frame"].numpy()
    return [
        Triple(
            index=first + int(place),
            blurred=blurred[place],
            restored=restored[place],
            sharp=sharp[place],
            scene=scenes[place].decode(),
            frame=frames[place].decode(),
        )
        for place in places
    ]
