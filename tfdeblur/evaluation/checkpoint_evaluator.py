"""Evaluates every checkpoint of a run with a single graph."""

from typing import Any

from tfdeblur import models
from tfdeblur.checkpoints.manifest import checkpoint_name, verify_checkpoint, weights_file
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import CHECKPOINTS, read_weights
from tfdeblur.data.dataset import read_errors
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.checkpoints import Strip
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.pictures import spread
from tfdeblur.evaluation.scores import RESTORED, ScoreCard
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


class CheckpointEvaluator:
    """Evaluates the checkpoints of a run, oldest first.

    Args:
        workdir: The run's work directory.
        data: The split.
        batch_size: Images per batch.
        pictures: Number of strips of pictures, spread over the split.

    Attributes:
        cards: Images seen, epochs if known, and the score card of each intact checkpoint.
        strips: The pictures.
        skipped: Error message of each other checkpoint, by its folder.
        restorer: The network; None until an intact checkpoint is found.
    """

    def __init__(
        self, workdir: str, data: EvaluationData, *, batch_size: int, pictures: int
    ) -> None:
        self._folder = files.join(workdir.rstrip("/"), CHECKPOINTS)
        self._data = data
        self._batch_size = batch_size
        self._pictures = pictures
        self._generator: Generator | None = None
        self._model: dict[str, Any] = {}
        self._evaluator: SplitEvaluator | None = None
        self.restorer: Restorer | None = None
        self.cards: list[tuple[int, float | None, ScoreCard]] = []
        self.strips: list[Strip] = []
        self.skipped: dict[str, str] = {}

    def run(self) -> None:
        """Evaluates all checkpoints; damaged ones are skipped.

        Raises:
            UserError: There is no checkpoint.
            DataError: Every checkpoint is damaged, or the data cannot be read.
        """
        counts = list_checkpoints(self._folder)
        if not counts:
            raise UserError(
                f"{self._folder} holds no checkpoint. Give the work directory of a run of "
                "tfdeblur.train; `output.keep: all` keeps every checkpoint of a run."
            )
        for images in counts:
            path = files.join(self._folder, checkpoint_name(images))
            try:
                meta = self._load(path)
            except UserError as error:
                self.skipped[path] = str(error)
                continue
            epoch = meta.get("epoch_images")
            self._evaluate(images, images / epoch if epoch else None)
        if not self.cards:
            raise DataError(
                f"No checkpoint in {self._folder} could be evaluated: "
                f"{' '.join(self.skipped.values())}"
            )

    def _load(self, path: str) -> dict[str, Any]:
        """Loads a checkpoint's weights into the network; returns its `meta.json`."""
        meta = verify_checkpoint(path)
        weights = files.join(path, weights_file(meta))
        if self._generator is None:
            options = dict(meta["model"])
            generator = models.create(options.pop("name"), options)
            read_weights(weights, generator)
            self._generator, self._model = generator, meta["model"]
            self.restorer = Restorer(generator, name=generator.name, about=meta)
        elif meta["model"] != self._model:
            # Options such as a global skip change no weight, so the file alone would fit.
            raise DataError(
                f"The checkpoint {path} is of the model {meta['model']}, earlier ones are of "
                f"{self._model}. Evaluate it on its own, with --model {path}."
            )
        else:
            read_weights(weights, self._generator)
        return meta

    def _evaluate(self, images: int, epochs: float | None) -> None:
        data = self._data
        assert self.restorer is not None
        if self._evaluator is None:
            networks = {RESTORED: self.restorer.restore}
            self._evaluator = SplitEvaluator(networks, data, batch_size=self._batch_size)
        with read_errors([data.path], data.split):
            card = self._evaluator.run()
            triplets = self._evaluator.pictures(spread(data.records, self._pictures))
        self.cards.append((images, epochs, card))
        if not self.strips:
            self.strips = [Strip(triplet) for triplet in triplets]
        for strip, triplet in zip(self.strips, triplets, strict=True):
            strip.add(images, triplet.restored)
