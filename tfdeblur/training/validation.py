"""Validation during training: scores and images of a split, or images of training samples."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tfdeblur.config import TrainConfig
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.memory import ArrayDataset, Arrays
from tfdeblur.data.pipeline import TrainingData
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.losses import GeneratorLoss
from tfdeblur.evaluation.scores import BLURRED, RESTORED
from tfdeblur.execution import Executor
from tfdeblur.io import files
from tfdeblur.models.generator import Generator
from tfdeblur.ops import tiling
from tfdeblur.training.gallery import Gallery, Pictures, Validation

# Pixels in a batch of the validation, and the largest side of the images that are kept.
_VALIDATION_PIXELS = 2**20
_PICTURE_SIDE = 256


def gallery_of(run_config: TrainConfig, folder: str) -> Gallery:
    """Returns the page of a run, to be written to a folder."""
    return Gallery(
        folder,
        run_config.recipe or f"{run_config.model.name} in training",
        [
            ("Model", run_config.model.name),
            ("Objective", run_config.objective.name),
            ("Data", ", ".join(map(files.base_name, run_config.data.paths)) or "from Python"),
            ("Global batch", f"{run_config.training.global_batch}"),
        ],
    )


class Validator:
    """Evaluates the generator on the validation split and keeps a few images.

    Args:
        generator: The generator; a call evaluates its current weights.
        data: The validation split.
        executor: Runs networks and metrics on devices.
        pictures: How many images to keep, spread over the split.
        before_batch: Called before each batch; it ends the validation by raising.
        loss: The generator's loss, which is measured, too.
    """

    def __init__(
        self,
        generator: Generator,
        data: EvaluationData,
        executor: Executor,
        pictures: int,
        before_batch: Callable[[], object] = lambda: None,
        loss: GeneratorLoss | None = None,
    ) -> None:
        self._before_batch = before_batch
        self._evaluator = _evaluator(generator, data, executor, max_batch=256, loss=loss)
        count = min(pictures, data.records)
        self._indices = np.linspace(0, data.records - 1, count).round().astype(int).tolist()

    def __call__(self) -> Validation:
        """Evaluates the full split."""
        card = self._evaluator.run(before_batch=self._before_batch)
        return Validation(
            metrics=_scores(card.rows[RESTORED]),
            baseline=_scores(card.rows[BLURRED]),
            pictures=_pictures(self._evaluator, "Validation image", self._indices),
        )


class TrainingSamples:
    """The first samples of a training as a split: cropped, augmented, with synthetic blur.

    They do not depend on the batch size, nor on the image count at which a run resumes.

    Args:
        data: The training data.
        records: How many samples, at most.

    Attributes:
        height: Rows of a sample.
        width: Columns of a sample.
        records: Number of samples.
    """

    def __init__(self, data: TrainingData, records: int) -> None:
        self._data = data
        self.height, self.width = data.height, data.width
        self.records = min(records, data.records)

    def dataset(self, batch_size: int) -> ArrayDataset:
        """Returns the samples in batches, in the form of `data.evaluation`, without names."""
        count = -(-self.records // batch_size)
        none = np.full(batch_size, b"", object)
        unnamed = {"scene": none, "frame": none, "valid": np.ones(batch_size, bool)}

        def read() -> Iterator[Arrays]:
            for batch in itertools.islice(self._data.batches(batch_size), count):
                yield {**batch, **unnamed}

        return ArrayDataset(read, (batch_size, self.height, self.width), count)


class SampleRestorer:
    """Restores the first samples of a training.

    Args:
        generator: The generator; a call uses its current weights.
        samples: The samples.
        executor: Runs the network on devices.
    """

    def __init__(self, generator: Generator, samples: TrainingSamples, executor: Executor) -> None:
        self._indices = range(samples.records)
        self._evaluator = _evaluator(
            generator, samples, executor, max_batch=max(1, samples.records)
        )

    def __call__(self) -> Pictures:
        """Restores all samples."""
        return _pictures(self._evaluator, "Training sample", self._indices)


def _evaluator(
    generator: Generator,
    data: EvaluationData | TrainingSamples,
    executor: Executor,
    max_batch: int,
    loss: GeneratorLoss | None = None,
) -> SplitEvaluator:
    """Returns an evaluator of a generator on images of one size."""
    # The wrapper has no variables of its own, so no scope is needed to build it.
    model = generator.as_unit_model()
    return SplitEvaluator(
        {RESTORED: lambda images: model(images, training=False)},
        data,
        batch_size=max(1, min(max_batch, _VALIDATION_PIXELS // (data.height * data.width))),
        executor=executor,
        loss=loss,
    )


def _pictures(evaluator: SplitEvaluator, kind: str, indices: Sequence[int]) -> Pictures:
    triples = evaluator.pictures(indices)
    return Pictures(
        kind,
        records=indices,
        blurred=[_middle(triple.blurred) for triple in triples],
        restored=[_middle(triple.restored) for triple in triples],
        sharp=[_middle(triple.sharp) for triple in triples],
    )


def _scores(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "exact"}


def _middle(image: np.ndarray) -> np.ndarray:
    """Returns the center of a large image, because images of every validation are kept."""
    return image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices]
