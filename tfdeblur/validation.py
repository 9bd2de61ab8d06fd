"""Validation within a training run: evaluation's numbers in the form that training's hook takes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur import runtime, tiling
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.evaluation.whole_split import SplitEvaluator
from tfdeblur.models._generator import Generator
from tfdeblur.training.hooks import Validation
from tfdeblur.training.signals import ValidationEnded

# Pixels that are validated at once, and the side of the pictures that are kept of them.
_VALIDATION_PIXELS = 2**20
_PICTURE_SIDE = 256


class Validator:
    """Judges the generator on the validation split and takes pictures of a few images.

    Args:
        generator: Its weights of the moment are judged.
        data: The validation split.
        strategy: Shares the work.
        pictures: How many images to picture, spread over the split.
        stop: Looked at before each batch; once it is true, the validation ends there.
    """

    def __init__(
        self,
        generator: Generator,
        data: EvaluationData,
        strategy: tf.distribute.Strategy,
        pictures: int,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stop = stop
        with strategy.scope():
            model = generator.as_unit_model()
        pixels = data.height * data.width
        self._evaluator = SplitEvaluator(
            lambda images: model(images, training=False),
            data,
            batch_size=max(1, min(256, _VALIDATION_PIXELS // pixels)),
            # The workers of a cluster each judge the whole split: they must not wait for each
            # other where one has more batches than another.
            strategy=None if runtime.spans_workers(strategy) else strategy,
        )
        count = min(pictures, data.records)
        self._indices = np.linspace(0, data.records - 1, count).round().astype(int).tolist()

    def __call__(self) -> Validation:
        """Goes over the whole split.

        Raises:
            ValidationEnded: Somebody wanted the run to stop.
        """
        card = self._evaluator.run(before_batch=self._end_if_asked)
        triples = self._evaluator.pictures(self._indices)
        return Validation(
            metrics=_scores(card.rows["restored"]),
            baseline=_scores(card.rows["blurred"]),
            pictures={
                "blurred": [_middle(triple.blurred) for triple in triples],
                "restored": [_middle(_uint8(triple.restored)) for triple in triples],
                "truth": [_middle(triple.sharp) for triple in triples],
            },
            records=self._indices,
        )

    def _end_if_asked(self) -> None:
        if self._stop():
            raise ValidationEnded("The run is to stop.")


def _scores(row: Any) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(row).items() if name != "exact"}


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.round(image * 255.0).astype(np.uint8)


def _middle(image: np.ndarray) -> np.ndarray:
    """Cuts the middle out of a large image: pictures are kept for every validation."""
    return image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices]
