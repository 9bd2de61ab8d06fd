"""One pass over a split that measures every image under every protocol."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.evaluator import PairSource, Restore
from tfdeblur.evaluation.full_card import BLURRED, VALUES, FullCard, Setting
from tfdeblur.evaluation.scores import CEILING_DB
from tfdeblur.metrics import protocols
from tfdeblur.metrics.lpips import Lpips
from tfdeblur.ops import tiling

Columns = dict[Setting, dict[str, np.ndarray]]


class FullEvaluator:
    """Judges one network, with and without its local converter, on one split.

    Args:
        networks: By state, `restored` and perhaps `restored_tlc`, from float32 [B, H, W, 3] in
            [0, 1] to the restored images.
        data: The split.
        batch_size: Images at a time.
        crop: Height and width of the crops that are restored and measured by themselves; None, or
            a crop that is not smaller than the images, for whole images only.
        lpips: Distances with weights, to be measured of whole images, by their key in
            `tfdeblur.metrics.protocols.MEASURES`.

    Raises:
        UserError: The images are too small for a distance.
    """

    def __init__(
        self,
        networks: Mapping[str, Restore],
        data: PairSource,
        *,
        batch_size: int,
        crop: tuple[int, int] | None = None,
        lpips: Mapping[str, Lpips] | None = None,
    ) -> None:
        self._dataset = data.dataset(batch_size)
        height, width = self._dataset.element_spec["blurred"].shape[1:3]
        self._boxes = _boxes(height, width, crop)
        self._measures = protocols.fitting(height, width)
        self._crop_measures = protocols.fitting(*crop) if crop and self._boxes else []
        # Partial objects: TensorFlow counts traces by a function's code, and would take the
        # networks of two evaluators for one that is traced again and again.
        self._networks = {
            state: tf.function(functools.partial(_restored, network))
            for state, network in networks.items()
        }
        self._score = {
            names: tf.function(functools.partial(_scores, names))
            for names in {tuple(self._measures), tuple(self._crop_measures)}
        }
        self._lpips = _traced(lpips or {}, height, width)
        self._lost = tf.function(functools.partial(protocols.lost_gradient))
        self._seconds: dict[str, list[float]] = {}

    @property
    def has_crops(self) -> bool:
        """Whether crops are measured."""
        return bool(self._boxes)

    def run(self, *, progress: bool = True, about: Mapping[str, Any] | None = None) -> FullCard:
        """Goes over the split once.

        Args:
            progress: Whether to show a bar.
            about: Kept in the score card.

        Returns:
            The score card.

        Raises:
            DataError: The split is empty.
        """
        parts: list[Columns] = []
        facts: dict[str, list[Any]] = {"differs": [], "lost": [], "scenes": [], "frames": []}
        self._seconds = {state: [] for state in self._networks}
        bar = tqdm.tqdm(
            self._dataset,
            desc="judging",
            unit="batch",
            disable=None if progress else True,
            leave=False,
        )
        for place, batch in enumerate(bar):
            valid = batch["valid"].numpy()
            if not valid.any():
                continue
            blurred, sharp = (
                tf.cast(batch[name], tf.float32) / 255.0 for name in ("blurred", "sharp")
            )
            columns = self._judge(blurred, sharp, first=place == 0)
            parts.append(
                {s: {m: v[valid] for m, v in found.items()} for s, found in columns.items()}
            )
            differs = tf.reduce_any(tf.not_equal(batch["blurred"], batch["sharp"]), [1, 2, 3])
            facts["differs"].extend(differs.numpy()[valid])
            facts["lost"].extend(self._lost(sharp, blurred).numpy()[valid])
            for name in ("scene", "frame"):
                facts[f"{name}s"].extend(text.decode() for text in batch[name].numpy()[valid])
        if not parts:
            raise DataError("The split holds no images, so there is nothing to judge.")
        values = {
            setting: {
                measure: np.concatenate([part[setting][measure] for part in parts])
                for measure in parts[0][setting]
            }
            for setting in parts[0]
        }
        return FullCard(
            values=values,
            differs=np.array(facts["differs"], bool),
            lost_gradient=np.array(facts["lost"], np.float64),
            scenes=facts["scenes"],
            frames=facts["frames"],
            seconds=self._seconds,
            about=dict(about or {}),
        )

    def _judge(self, blurred: tf.Tensor, sharp: tf.Tensor, first: bool) -> Columns:
        """Measures a batch under every setting; float64 [batch] for each measure."""
        whole = {BLURRED: blurred}
        whole |= {state: self._timed(state, blurred, first) for state in self._networks}
        columns = self._measured(whole, sharp, "whole", tuple(self._measures))
        for name, (features, distance) in self._lpips.items():
            truth = features(sharp)
            for setting, images in _shown(whole, "whole"):
                columns[setting][name] = distance(truth, images).numpy().astype(np.float64)
        if not self._boxes:
            return columns
        cut, truth = self._cut(blurred), self._cut(sharp)
        crops = {BLURRED: cut, **{s: network(cut) for s, network in self._networks.items()}}
        found = self._measured(crops, truth, "crops", tuple(self._crop_measures))
        count = len(self._boxes)
        for setting, values in found.items():
            by_crop = {m: v.reshape(count, -1) for m, v in values.items()}
            # The last box is the middle, the others the grid.
            columns[setting] = {m: v[:-1].mean(axis=0) for m, v in by_crop.items()}
            center = Setting(setting.state, setting.values, "center")
            columns[center] = {m: v[-1] for m, v in by_crop.items()}
        return dict(sorted(columns.items(), key=lambda item: _REGIONS.index(item[0].region)))

    def _timed(self, state: str, images: tf.Tensor, first: bool) -> tf.Tensor:
        begin = time.perf_counter()
        restored = self._networks[state](images)
        # A device works on after the call; its clock ends when a number has come back.
        restored[0, 0, 0, 0].numpy()
        if not first:  # the first call traces and compiles
            self._seconds[state].append((time.perf_counter() - begin) / int(images.shape[0]))
        return restored

    def _measured(
        self, states: Mapping[str, tf.Tensor], sharp: tf.Tensor, region: str, names: tuple[str, ...]
    ) -> Columns:
        columns = {}
        for setting, images in _shown(states, region):
            scores = self._score[names](sharp, images).numpy().astype(np.float64)
            for column, name in enumerate(names):
                if name.startswith("psnr") and region != "whole":
                    # One perfect crop must not make its image's mean infinite.
                    scores[:, column] = np.minimum(scores[:, column], CEILING_DB)
            columns[setting] = dict(zip(names, scores.T, strict=True))
        return columns

    def _cut(self, images: tf.Tensor) -> tf.Tensor:
        """Returns all crops of a batch, box by box: [boxes * B, h, w, 3]."""
        parts = [images[:, box.top : box.bottom, box.left : box.right] for box in self._boxes]
        return tf.concat(parts, axis=0)


_REGIONS = ("whole", "crops", "center")


def _boxes(height: int, width: int, crop: tuple[int, int] | None) -> list[tiling.Box]:
    """Returns the crops of a grid and, last, the middle one; none where the crop is no smaller."""
    if crop is None or crop[0] > height or crop[1] > width or crop == (height, width):
        return []
    grid = tiling.grid(height, width, *crop, *crop, cover=False)
    middle = tiling.Box((height - crop[0]) // 2, (width - crop[1]) // 2, *crop)
    return [*grid, middle]


def _shown(states: Mapping[str, tf.Tensor], region: str) -> Iterator[tuple[Setting, tf.Tensor]]:
    """Returns what is measured of each state: its images as they are, and rounded."""
    for state, images in states.items():
        for values in VALUES if state != BLURRED else ("uint8",):
            shown = protocols.as_uint8(images) if values == "uint8" else images
            yield Setting(state, values, region), shown


def _traced(lpips: Mapping[str, Lpips], height: int, width: int) -> dict[str, tuple[Any, Any]]:
    """Returns for each distance two graphs: features of the truth, and how far others are."""
    for name in lpips:
        measure = protocols.MEASURES[name]
        if min(height, width) < measure.smallest:
            raise UserError(
                f"lpips: {measure.title} needs images of at least {measure.smallest}x"
                f"{measure.smallest} pixels, and those of the split are {width}x{height}. Leave "
                f"{name.removeprefix(protocols.LPIPS)} out of --lpips."
            )
    return {
        name: (
            tf.function(functools.partial(Lpips.features, one)),
            tf.function(functools.partial(Lpips.distance, one)),
        )
        for name, one in lpips.items()
    }


def _restored(network: Restore, images: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.cast(network(images), tf.float32), 0.0, 1.0)


def _scores(names: tuple[str, ...], sharp: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Returns the measures of a batch, float32 [B, names]."""
    functions = [protocols.MEASURES[name].function for name in names]
    return tf.stack([function(sharp, restored) for function in functions if function], axis=1)
