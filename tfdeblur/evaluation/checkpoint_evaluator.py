"""Every checkpoint of a run, judged one after the other by one graph."""

from typing import Any

from tfdeblur import models
from tfdeblur.checkpoints.manifest import WEIGHTS, verify_checkpoint
from tfdeblur.checkpoints.retention import list_checkpoints
from tfdeblur.checkpoints.weights import CHECKPOINTS, read_weights
from tfdeblur.data.dataset import READ_ERRORS, explain_read_error
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation import ScoreCard, SplitEvaluator, Strip
from tfdeblur.evaluation.pictures import spread
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.models.generator import Generator


class CheckpointJudge:
    """Goes over the checkpoints of a run, oldest first.

    Args:
        workdir: The run's work directory.
        data: The split.
        batch_size: Images at a time.
        pictures: How many images are pictured, spread over the split.

    Attributes:
        cards: Images seen, epochs if known, and the score card of each whole checkpoint.
        strips: The pictures.
        skipped: What is wrong with the others, by folder.
        restorer: The network; None until a checkpoint was whole.
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

    def judge_all(self) -> None:
        """Judges them; a damaged one costs itself alone."""
        folder = self._folder
        counts = list_checkpoints(folder)
        if not counts:
            raise UserError(
                f"{folder} holds no checkpoint. Needed is the work directory of a run of "
                "tfdeblur.train; `output.keep: all` keeps every checkpoint of a run."
            )
        for images in counts:
            path = files.join(folder, f"{images:012d}")
            try:
                meta = self._load(path)
            except UserError as error:
                self.skipped[path] = str(error)
                continue
            epoch = meta.get("epoch_images")
            self._judge(images, images / epoch if epoch else None)
        if not self.cards:
            raise DataError(
                f"No checkpoint in {folder} could be judged: {' '.join(self.skipped.values())}"
            )

    def _load(self, path: str) -> dict[str, Any]:
        """Puts a checkpoint's weights into the one network; returns its `meta.json`."""
        meta = verify_checkpoint(path)
        weights = files.join(path, WEIGHTS)
        if self._generator is None:
            options = dict(meta["model"])
            generator = models.create(options.pop("name"), options)
            read_weights(weights, generator)
            self._generator, self._model = generator, meta["model"]
            self.restorer = Restorer(generator, name=generator.name, about=meta)
        elif meta["model"] != self._model:
            # Options such as a global skip change no weight, so the file alone would fit.
            raise DataError(
                f"The checkpoint {path} is of the model {meta['model']}, the ones before it of "
                f"{self._model}. Judge it alone, with --model {path}."
            )
        else:
            read_weights(weights, self._generator)
        return meta

    def _judge(self, images: int, epochs: float | None) -> None:
        data = self._data
        assert self.restorer is not None
        if self._evaluator is None:
            self._evaluator = SplitEvaluator(
                self.restorer.restore, data, batch_size=self._batch_size
            )
        try:
            card = self._evaluator.run()
            triples = self._evaluator.pictures(spread(data.records, self._pictures))
        except READ_ERRORS as error:
            explained = explain_read_error(error, [data.path], data.split)
            raise explained or error from error
        self.cards.append((images, epochs, card))
        if not self.strips:
            self.strips = [Strip(triple) for triple in triples]
        for strip, triple in zip(self.strips, triples, strict=True):
            strip.add(images, triple.restored)
