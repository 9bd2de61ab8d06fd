"""What is looked at while a network trains, in the form that training's hooks take.

Evaluation's numbers and some pictures of the split that is validated on, or pictures alone of what
the network trains on where there is no such split.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.config import TrainConfig
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.pictures import to_uint8
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.ops import tiling
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.gallery import Gallery, Pictures, Validation
from tfdeblur.training.resilience.preemption import ValidationEnded

# Pixels that are validated at once, and the side of the pictures that are kept of them.
_VALIDATION_PIXELS = 2**20
_PICTURE_SIDE = 256


def gallery_of(run_config: TrainConfig, folder: str) -> Gallery:
    """Returns the page of a run, which is written into a folder."""
    return Gallery(
        folder,
        run_config.recipe or f"{run_config.model.name} in training",
        [
            ("Model", run_config.model.name),
            ("Objective", run_config.objective.name),
            ("Data", ", ".join(files.base_name(path) for path in run_config.data.paths)),
            ("Global batch", f"{run_config.training.global_batch}"),
        ],
    )


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
        self._evaluator = _evaluator(generator, data, strategy, most=256)
        count = min(pictures, data.records)
        self._indices = np.linspace(0, data.records - 1, count).round().astype(int).tolist()

    def __call__(self) -> Validation:
        """Goes over the whole split.

        Raises:
            ValidationEnded: Somebody wanted the run to stop.
        """
        card = self._evaluator.run(before_batch=self._end_if_asked)
        return Validation(
            metrics=_scores(card.rows["restored"]),
            baseline=_scores(card.rows["blurred"]),
            pictures=_pictures(self._evaluator, "Validation image", self._indices),
        )

    def _end_if_asked(self) -> None:
        if self._stop():
            raise ValidationEnded("The run is to stop.")


class TrainingSamples:
    """The first samples of a training as a split of their own: cropped, turned, with made blur.

    They are those that a run sees at its start, whatever its batch is and wherever it goes on.

    Attributes:
        height: Rows of a sample.
        width: Columns of a sample.
        records: Number of samples.
    """

    def __init__(self, data: TrainingData, records: int) -> None:
        self._data = data
        self.height, self.width = data.height, data.width
        self.records = min(records, data.records)

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Returns them in batches, in the form that evaluation takes; samples have no names."""

        def unnamed(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            none = tf.fill([batch_size], "")
            return {**batch, "scene": none, "frame": none, "valid": tf.fill([batch_size], True)}

        return self._data.dataset(batch_size).map(unnamed).take(-(-self.records // batch_size))


class SampleRestorer:
    """Takes pictures of the first samples of a training; calling it restores them anew.

    Args:
        generator: Its weights of the moment are used.
        samples: What to restore.
        strategy: Shares the work.
    """

    def __init__(
        self, generator: Generator, samples: TrainingSamples, strategy: tf.distribute.Strategy
    ) -> None:
        self._indices = range(samples.records)
        self._evaluator = _evaluator(generator, samples, strategy, most=max(1, samples.records))

    def __call__(self) -> Pictures:
        """Restores all of them."""
        return _pictures(self._evaluator, "Training sample", self._indices)


def _evaluator(
    generator: Generator,
    data: EvaluationData | TrainingSamples,
    strategy: tf.distribute.Strategy,
    most: int,
) -> SplitEvaluator:
    """Returns what restores images of one size with a generator, at most so many at once."""
    with strategy.scope():
        model = generator.as_unit_model()
    return SplitEvaluator(
        lambda images: model(images, training=False),
        data,
        batch_size=max(1, min(most, _VALIDATION_PIXELS // (data.height * data.width))),
        # The workers of a cluster each judge the whole split: they must not wait for each other
        # where one has more batches than another.
        strategy=None if runtime.spans_workers(strategy) else strategy,
    )


def _pictures(evaluator: SplitEvaluator, kind: str, indices: Sequence[int]) -> Pictures:
    triples = evaluator.pictures(indices)
    return Pictures(
        kind,
        records=indices,
        blurred=[_middle(triple.blurred) for triple in triples],
        restored=[_middle(to_uint8(triple.restored)) for triple in triples],
        truth=[_middle(triple.sharp) for triple in triples],
    )


def _scores(row: Any) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(row).items() if name != "exact"}


def _middle(image: np.ndarray) -> np.ndarray:
    """Cuts the middle out of a large image: pictures are kept for every validation."""
    return image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices]
