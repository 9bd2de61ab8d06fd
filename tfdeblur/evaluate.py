"""Command: judges a trained generator on a whole split.

::

    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA
    python -m tfdeblur.evaluate --workdir WORKDIR --data DATA --all-checkpoints

The second judges every checkpoint that a run has kept (`output.keep: all` keeps them all) and
tells how the network came about. `run` and `run_checkpoints` do the same for a notebook.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tfdeblur import cli
from tfdeblur.errors import DataError, UserError

if TYPE_CHECKING:
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.data.schema import Manifest
    from tfdeblur.evaluation import CheckpointTable, ScoreCard, SplitEvaluator, Strip
    from tfdeblur.models._generator import Generator
    from tfdeblur.restoration import Restorer

# Pixels in a batch that is chosen by itself, and its most images.
_BATCH_PIXELS = 2**20
_MOST_IMAGES = 256

# Some checkpoints were judged and others were damaged.
EXIT_INCOMPLETE = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is judged, and on what."""

    workdir: Annotated[
        str, Field(description="work directory of tfdeblur.train; or give --model")
    ] = ""
    model: Annotated[str, Field(description="checkpoint or SavedModel, instead of --workdir")] = ""
    data: Annotated[str, Field(description="folder made by data_prep.build", min_length=1)]
    split: Annotated[str, Field(description="which part of the data is judged")] = "test"
    checkpoint: Annotated[
        Literal["best", "last"], Field(description="which checkpoint of the work directory")
    ] = "best"
    all_checkpoints: Annotated[
        bool, Field(description="judge every checkpoint of the work directory, oldest first")
    ] = False
    batch_size: Annotated[
        int | None,
        Field(description="images at a time; chosen by their size where not given", ge=1),
    ] = None
    limit: Annotated[
        int | None, Field(description="judge only the first images of the split", ge=1)
    ] = None
    pictures: Annotated[
        int,
        Field(
            description="best, median and worst pictures in the report, of each; with "
            "--all-checkpoints the pictures whose growth is shown, spread over the split",
            ge=0,
        ),
    ] = 3
    out: Annotated[
        str, Field(description="folder to write; WORKDIR/evaluation/DATA-SPLIT where not given")
    ] = ""


@dataclasses.dataclass(frozen=True)
class EvaluateResult:
    """The score card, and where it was written.

    Attributes:
        card: All numbers.
        folder: Holds `scores.json`, `scores.csv`, `images.csv` and the report.
        report: Path of the report's page.
    """

    card: "ScoreCard"
    folder: str
    report: str


@dataclasses.dataclass(frozen=True)
class CheckpointsResult:
    """The table of all checkpoints, and where it was written.

    Attributes:
        table: All numbers.
        folder: Holds `checkpoints.json`, `checkpoints.csv` and the page.
        report: Path of the page.
    """

    table: "CheckpointTable"
    folder: str
    report: str


def run(config: EvaluateConfig) -> EvaluateResult:
    """Judges a generator on a whole split and writes numbers and a report.

    Args:
        config: What is judged.

    Returns:
        The score card and where it lies.

    Raises:
        UserError: Neither or both of `workdir` and `model` are given, or one cannot be loaded.
        DataError: The data or the split cannot be read.
    """
    from tfdeblur import files, restoration
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.data.opening import READ_ERRORS, explain_read_error
    from tfdeblur.evaluation import SplitEvaluator
    from tfdeblur.evaluation.report import choose, write_report

    if config.all_checkpoints:
        raise UserError("all_checkpoints: run judges one checkpoint; run_checkpoints all of them.")
    if bool(config.workdir) == bool(config.model):
        raise UserError("Give one of --workdir (a run) and --model (a checkpoint or SavedModel).")
    data = EvaluationData(config.data, config.split, config.limit)
    source = (config.workdir or config.model).rstrip("/")
    restorer = restoration.load(source, config.checkpoint)
    about = _about(config, restorer, data.manifest)
    folder = config.out or default_folder(config)
    # A folder that cannot be written should be known before the work, not after it.
    files.make_dirs(folder)

    evaluator = SplitEvaluator(restorer.restore, data, batch_size=_batch_size(config, data))
    try:
        card = evaluator.run(about=about)
    except READ_ERRORS as error:
        # TensorFlow names no file; a fault of the network's own is raised as it is.
        raise explain_read_error(error, [config.data], config.split) or error from error
    card.write(folder)
    chosen = choose(card, config.pictures)
    triples = evaluator.pictures([index for kind in chosen.values() for index in kind])
    report = write_report(
        card,
        triples,
        folder,
        title=f"{restorer.name} on {_data_name(config.data)}, {config.split}",
        subtitle=source,
    )
    return EvaluateResult(card, folder, report)


def run_checkpoints(config: EvaluateConfig) -> CheckpointsResult:
    """Judges every checkpoint of a run on a whole split; writes a table, curves and pictures.

    All go through one graph, whose weights are exchanged; the blurred input is measured once.

    Args:
        config: What is judged; `workdir` names the run.

    Returns:
        The table and where it lies; what is damaged is named in `table.skipped`.

    Raises:
        UserError: `model` or another choice of a checkpoint is given, or there is no checkpoint.
        DataError: The data cannot be read, or every checkpoint is damaged.
    """
    from tfdeblur import files
    from tfdeblur.data.evaluation import EvaluationData
    from tfdeblur.evaluation import CheckpointTable
    from tfdeblur.evaluation.checkpoints import write_page

    if config.model or not config.workdir or config.checkpoint != "best":
        raise UserError(
            "--all-checkpoints judges all checkpoints of a run: give --workdir, and neither "
            "--model nor --checkpoint."
        )
    data = EvaluationData(config.data, config.split, config.limit)
    folder = config.out or default_folder(config)
    files.make_dirs(folder)
    judge = _CheckpointJudge(config, data)
    judge.judge_all()
    assert judge.restorer is not None
    name = judge.restorer.name
    about = _about(config, judge.restorer, data.manifest)
    # They are those of one checkpoint.
    del about["checkpoint"], about["images_seen"]
    table = CheckpointTable.of(judge.cards, judge.skipped, about)
    table.write(folder)
    page = write_page(
        table,
        judge.strips,
        folder,
        title=f"{name} on {_data_name(config.data)}, {config.split}: all checkpoints",
        subtitle=config.workdir,
    )
    return CheckpointsResult(table, folder, page)


class _CheckpointJudge:
    """Goes over the checkpoints of a run, oldest first.

    Args:
        config: What is judged.
        data: The split.

    Attributes:
        cards: Images seen, epochs if known, and the score card of each whole checkpoint.
        strips: The pictures.
        skipped: What is wrong with the others, by folder.
        restorer: The network; None until a checkpoint was whole.
    """

    def __init__(self, config: EvaluateConfig, data: "EvaluationData") -> None:
        self._config = config
        self._data = data
        self._generator: Generator | None = None
        self._model: dict[str, Any] = {}
        self._evaluator: SplitEvaluator | None = None
        self.restorer: Restorer | None = None
        self.cards: list[tuple[int, float | None, ScoreCard]] = []
        self.strips: list[Strip] = []
        self.skipped: dict[str, str] = {}

    def judge_all(self) -> None:
        """Judges them; a damaged one costs itself alone."""
        from tfdeblur import files
        from tfdeblur.training import checkpoint

        folder = files.join(self._config.workdir.rstrip("/"), checkpoint.CHECKPOINTS)
        counts = checkpoint.list_checkpoints(folder)
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
        from tfdeblur import files, models
        from tfdeblur.restoration import Restorer
        from tfdeblur.training import checkpoint

        meta = checkpoint.verify_checkpoint(path)
        weights = files.join(path, checkpoint.WEIGHTS)
        if self._generator is None:
            options = dict(meta["model"])
            generator = models.create(options.pop("name"), options)
            checkpoint.read_weights(weights, generator)
            self._generator, self._model = generator, meta["model"]
            self.restorer = Restorer(generator, name=generator.name, about=meta)
        elif meta["model"] != self._model:
            # Options such as a global skip change no weight, so the file alone would fit.
            raise DataError(
                f"The checkpoint {path} is of the model {meta['model']}, the ones before it of "
                f"{self._model}. Judge it alone, with --model {path}."
            )
        else:
            checkpoint.read_weights(weights, self._generator)
        return meta

    def _judge(self, images: int, epochs: float | None) -> None:
        from tfdeblur.data.opening import READ_ERRORS, explain_read_error
        from tfdeblur.evaluation import SplitEvaluator, Strip

        data = self._data
        assert self.restorer is not None
        if self._evaluator is None:
            self._evaluator = SplitEvaluator(
                self.restorer.restore, data, batch_size=_batch_size(self._config, data)
            )
        try:
            card = self._evaluator.run()
            triples = self._evaluator.pictures(_spread(data.records, self._config.pictures))
        except READ_ERRORS as error:
            explained = explain_read_error(error, [self._config.data], self._config.split)
            raise explained or error from error
        self.cards.append((images, epochs, card))
        if not self.strips:
            self.strips = [Strip(triple) for triple in triples]
        for strip, triple in zip(self.strips, triples, strict=True):
            strip.add(images, triple.restored)


def _spread(count: int, wanted: int) -> list[int]:
    """Returns at most `wanted` places out of `count`, evenly spread, the ends among them."""
    wanted = min(wanted, count)
    if wanted < 2:
        return [count // 2][:wanted]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def default_folder(config: EvaluateConfig) -> str:
    """Returns where an evaluation is written by itself; settings that matter have their own."""
    from tfdeblur import files

    name = f"{_data_name(config.data)}-{config.split}"
    if config.checkpoint != "best":
        name += f"-{config.checkpoint}"
    if config.limit:
        name += f"-first-{config.limit}"
    if config.workdir:
        return files.join(config.workdir, "evaluation", name)
    # A SavedModel is somebody's to ship: the numbers go beside it, not into it.
    return f"{config.model.rstrip('/')}-evaluation/{name}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.run_command(
        EvaluateConfig,
        _run_and_report,
        argv,
        prog="python -m tfdeblur.evaluate",
        description=(
            "Judges a trained generator on a whole split, with the blurred input as the baseline, "
            "and writes a table, every image's numbers and a page with pictures; or every "
            "checkpoint of a run, with curves and pictures of how the network came about."
        ),
    )


def _run_and_report(config: EvaluateConfig) -> int:
    if config.all_checkpoints:
        return _run_and_report_checkpoints(config)
    result = run(config)
    print(result.card.table())
    print(f"\nNumbers and pictures: {result.report}")
    return 0


def _run_and_report_checkpoints(config: EvaluateConfig) -> int:
    result = run_checkpoints(config)
    print(result.table.table())
    print(f"\nNumbers, curves and pictures: {result.report}")
    for message in result.table.skipped.values():
        print(f"warning: not judged: {message}", file=sys.stderr)
    return EXIT_INCOMPLETE if result.table.skipped else 0


def _batch_size(config: EvaluateConfig, data: "EvaluationData") -> int:
    pixels = data.height * data.width
    return config.batch_size or max(1, min(_BATCH_PIXELS // pixels, _MOST_IMAGES))


def _data_name(path: str) -> str:
    from tfdeblur import files

    return files.base_name(path if "://" in path else os.path.abspath(path))


def _about(config: EvaluateConfig, restorer: Any, manifest: "Manifest") -> dict[str, Any]:
    known = restorer.about
    return {
        "model": restorer.name,
        "from": config.workdir or config.model,
        "checkpoint": known.get("folder", ""),
        "images_seen": known.get("images"),
        "data": config.data,
        "split": config.split,
        "limit": config.limit,
        "source": manifest.source,
        "blur": manifest.blur,
    }


if __name__ == "__main__":
    raise SystemExit(main())
