"""Evaluates every checkpoint of a run: a table, curves and strips of pictures.

All checkpoints share one graph, whose weights are replaced. The page embeds its pictures, so that
it is a single file.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.checkpoints.manifest import verify_checkpoint, weights_file
from tfdeblur.checkpoints.retention import checkpoint_path, list_checkpoints
from tfdeblur.checkpoints.weights import CHECKPOINTS, load_generator, read_weights
from tfdeblur.data.dataset import read_errors
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.config import EvaluateConfig, about_run, batch_size_for
from tfdeblur.evaluation.evaluator import SplitEvaluator, Triplet
from tfdeblur.evaluation.losses import OMITTED, find_loss, read_critics
from tfdeblur.evaluation.page import headers, summary_of
from tfdeblur.evaluation.pictures import address, spread
from tfdeblur.evaluation.scores import BLURRED, RESTORED
from tfdeblur.evaluation.tables import aligned_table, csv_text, plain
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import METRICS
from tfdeblur.metrics.generator_loss import ADVERSARIAL_LOSS, VALIDATION_LOSS
from tfdeblur.ops import tiling
from tfdeblur.reports import histories, pages
from tfdeblur.reports.charts import Chart, FigureFormat

CHECKPOINTS_JSON = "checkpoints.json"
CHECKPOINTS_CSV = "checkpoints.csv"
PAGE = "checkpoints.html"
NAMES = (CHECKPOINTS_JSON, CHECKPOINTS_CSV, PAGE, pages.figures_folder(PAGE))

# A strip shows at most this many checkpoints and the best one.
_MAX_COLUMNS = 6

# Larger pictures are cropped to their center: every checkpoint adds one.
_PICTURE_SIDE = 256
_SMALL = 64


@dataclasses.dataclass(frozen=True)
class Stage:
    """The mean scores of a checkpoint.

    Attributes:
        images: Images seen when it was written.
        epochs: The same in epochs; None if the checkpoint does not record them.
        row: Means by metric, see `ScoreCard.rows`.
        validation_loss: The generator's loss on the run's own validation split; NaN if its history
            has none at this image count.
        pictures: For each strip, the restored picture as a data URL: compressed, because a run
            may have hundreds of checkpoints.
    """

    images: int
    epochs: float | None
    row: Mapping[str, float]
    validation_loss: float = math.nan
    pictures: Sequence[str] = ()

    @property
    def label(self) -> str:
        """Its name: epochs if known, else images."""
        if self.epochs is None:
            return f"{self.images:,} images"
        return f"{self.epochs:.4g} epochs"


@dataclasses.dataclass(frozen=True)
class CheckpointTable:
    """The mean scores of all checkpoints of a run on one split.

    Attributes:
        baseline: The scores of the blurred input.
        stages: The checkpoints, oldest first; at least one.
        images: Number of images.
        differing: Number of images whose input differs from the target.
        skipped: Error message of each checkpoint that was not evaluated, by its folder.
        about: Origin of the scores.
        strips: Images that are shown as restored by each checkpoint.
    """

    baseline: Mapping[str, float]
    stages: Sequence[Stage]
    images: int
    differing: int
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strips: Sequence[Triplet] = ()

    @property
    def metrics(self) -> list[str]:
        """Keys of the metrics in the order of `METRICS`."""
        rows = [self.baseline, *(stage.row for stage in self.stages)]
        return [key for key in METRICS if any(key in row for row in rows)]

    def best(self) -> dict[str, int]:
        """Returns by metric the images seen of the best checkpoint, the earliest if tied."""
        found = {}
        for key in self.metrics:
            if key == ADVERSARIAL_LOSS:  # every checkpoint has its own critic
                continue
            values = [
                (-METRICS[key].sign * stage.row[key], stage.images)
                for stage in self.stages
                if not math.isnan(stage.row.get(key, math.nan))
            ]
            if values:
                found[key] = min(values)[1]
        return found

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows as texts; a star marks the best of each column."""
        best = self.best()
        header = ["images seen", *headers([*self.metrics, VALIDATION_LOSS], "epochs")]
        baseline = [METRICS[k].text(self.baseline.get(k, math.nan)) for k in self.metrics]
        body = [["blurred", "", *baseline, "-"]]
        for stage in self.stages:
            epochs = "-" if stage.epochs is None else f"{stage.epochs:.2f}"
            scores = [
                "*" * (best.get(key) == stage.images)
                + METRICS[key].text(stage.row.get(key, math.nan))
                for key in self.metrics
            ]
            loss = METRICS[VALIDATION_LOSS].text(stage.validation_loss)
            body.append([f"{stage.images:,}", epochs, *scores, loss])
        return header, body

    def notes(self) -> list[str]:
        """Returns the notes printed below the table."""
        notes = [
            "* The best checkpoint in that column. It was selected on this split, so its score is "
            "biased; report one that was fixed in advance or selected on a validation split.",
            f"{self.images:,} images; PSNR averages over the {self.differing:,} whose input "
            "differs from the target.",
        ]
        worse = []
        for key in self.metrics:
            metric = METRICS[key]
            gains = [
                metric.sign * (stage.row.get(key, math.nan) - self.baseline.get(key, math.nan))
                for stage in self.stages
            ]
            count = sum(gain < 0 for gain in gains)
            worse += [f"{metric.title} {count}"] if count else []
        if worse:
            notes.append(
                f"Checkpoints, of {len(self.stages)}, that are worse than the blurred input "
                f"itself: {', '.join(worse)}."
            )
        notes += [f"Omitted: {message}" for message in self.skipped.values()]
        if reason := self.about.get(OMITTED):
            notes.append(f"Loss is omitted: {reason}")
        notes.append(
            f"{METRICS[VALIDATION_LOSS].title}: {METRICS[VALIDATION_LOSS].protocol} The other "
            "columns are of this split."
        )
        notes.append("Float32 on [0, 1], restored images clipped to it, whole images, RGB.")
        return notes

    def table(self) -> str:
        """Returns the table as aligned text for a terminal."""
        return aligned_table(*self.cells(), self.notes())

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain values; None for undefined values."""
        return {
            **self.about,
            "images": self.images,
            "differing": self.differing,
            "baseline": plain(self.baseline),
            "checkpoints": [
                plain(
                    {
                        "images_seen": stage.images,
                        "epochs": stage.epochs,
                        **stage.row,
                        VALIDATION_LOSS: stage.validation_loss,
                    }
                )
                for stage in self.stages
            ],
            "best": self.best(),
            "skipped": dict(self.skipped),
            "protocols": {key: METRICS[key].protocol for key in self.metrics},
        }

    def write(self, directory: str) -> None:
        """Writes `checkpoints.json` and `checkpoints.csv`, which begins with the baseline.

        Args:
            directory: Folder, created if missing; any scheme that TensorFlow writes.

        Raises:
            UserError: A file cannot be written.
        """
        out = OutputFolder(directory)
        out.write_json(CHECKPOINTS_JSON, self.to_dict())
        lines: list[dict[str, Any]] = [
            {"row": BLURRED, "images_seen": "", "epochs": "", **self.baseline}
        ]
        lines += [
            {
                "row": RESTORED,
                "images_seen": stage.images,
                "epochs": "" if stage.epochs is None else stage.epochs,
                **stage.row,
                VALIDATION_LOSS: stage.validation_loss,
            }
            for stage in self.stages
        ]
        out.write_text(CHECKPOINTS_CSV, csv_text(lines))

    def pictures(self) -> list[pages.PictureRow]:
        """Returns the strips with evenly spaced checkpoints, and the best one by PSNR."""
        places = spread(len(self.stages), _MAX_COLUMNS)
        wanted = {self.stages[place].images for place in places}
        wanted.add(self.best().get("psnr_db", self.stages[-1].images))
        shown = [stage for stage in self.stages if stage.images in wanted]
        return [
            (
                f"{strip.scene} / {strip.frame}",
                {
                    "blurred": _embedded(strip.blurred),
                    **{stage.label: stage.pictures[index] for stage in shown},
                    "sharp": _embedded(strip.sharp),
                },
            )
            for index, strip in enumerate(self.strips)
        ]

    def charts(self) -> list[Chart]:
        """Returns the curves of PSNR and SSIM with the blurred input as a level."""
        in_epochs = all(stage.epochs is not None for stage in self.stages)
        seen = [float(stage.epochs or 0 if in_epochs else stage.images) for stage in self.stages]
        return [
            Chart(
                METRICS[key].title,
                {"restored": [(x, s.row[key]) for x, s in zip(seen, self.stages, strict=True)]},
                x_label="epochs" if in_epochs else "images seen",
                y_label=METRICS[key].unit,
                levels={"blurred input": self.baseline[key]},
            )
            for key in ("psnr_db", "ssim")
        ]


def evaluate(config: EvaluateConfig, data: EvaluationData) -> CheckpointTable:
    """Evaluates the checkpoints of a run, oldest first; damaged ones are skipped.

    Args:
        config: The settings; `workdir` is the run.
        data: The split.

    Raises:
        UserError: There is no checkpoint.
        DataError: Every checkpoint is damaged, or the data cannot be read.
    """
    folder = files.join(config.workdir.rstrip("/"), CHECKPOINTS)
    counts = list_checkpoints(folder)
    if not counts:
        raise UserError(
            f"{folder} holds no checkpoint. Give the work directory of a run of "
            "tfdeblur.train; `output.keep: all` keeps every checkpoint of a run."
        )
    stages: list[Stage] = []
    skipped: dict[str, str] = {}
    evaluator, loss = None, None
    about_loss: dict[str, str] = {}
    validated = _validation_losses(config.workdir)
    for images in counts:
        path = checkpoint_path(folder, images)
        try:
            if evaluator is None:
                generator, meta = load_generator(path)
                model, restorer = meta["model"], Restorer(generator, name=generator.name)
            else:
                meta = verify_checkpoint(path)
                if meta["model"] != model:
                    # Options such as a global skip change no weight, so the file would fit.
                    raise DataError(
                        f"The checkpoint {path} is of the model {meta['model']}, earlier ones are "
                        f"of {model}. Evaluate it on its own, with --model {path}."
                    )
                read_weights(files.join(path, weights_file(meta)), generator)
                if loss is not None:
                    read_critics(path, loss.critics)
        except UserError as error:
            skipped[path] = str(error)
            continue
        with read_errors([data.path], data.split):
            if evaluator is None:
                batch_size = batch_size_for(data, config.batch_size)
                networks = {RESTORED: restorer.restore}
                if config.loss:
                    loss, about_loss = find_loss(path, generator)
                evaluator = SplitEvaluator(networks, data, batch_size=batch_size, loss=loss)
            card = evaluator.run()
            strips = evaluator.pictures(spread(data.records, config.pictures))
        epoch = meta.get("epoch_images")
        restored = [_embedded(strip.restored) for strip in strips]
        stages.append(
            Stage(
                images,
                images / epoch if epoch else None,
                card.rows[RESTORED],
                validated.get(images, math.nan),
                restored,
            )
        )
    if not stages:
        raise DataError(
            f"No checkpoint in {folder} could be evaluated: {' '.join(skipped.values())}"
        )
    about = {**about_run(config, restorer, data.manifest), **about_loss}
    # These describe a single checkpoint.
    del about["checkpoint"], about["images_seen"]
    baseline = card.rows[BLURRED]
    return CheckpointTable(
        baseline, stages, card.images, card.differing, skipped, about, strips=strips
    )


def _validation_losses(workdir: str) -> dict[int, float]:
    """Returns the loss of each validation of a run by image count."""
    if not files.exists(files.join(workdir, histories.HISTORY)):
        return {}
    rows = histories.read(workdir)
    return {images: row["val/loss"] for images, row in rows.items() if "val/loss" in row}


def write_page(
    table: CheckpointTable,
    directory: str,
    *,
    title: str,
    subtitle: str = "",
    figures: FigureFormat | None = None,
) -> str:
    """Writes `checkpoints.html`: table, curves and strips in a single file.

    Args:
        table: The table; its stages have a picture for each of its strips.
        directory: Folder of the evaluation.
        title: Heading of the page.
        subtitle: Line below the heading.
        figures: Format in which the charts are also written as files.

    Returns:
        Path of the page.

    Raises:
        UserError: The page cannot be written.
    """
    protocols = [f"{METRICS[key].title}: {METRICS[key].protocol}" for key in table.metrics]
    return pages.write(
        directory,
        PAGE,
        title,
        figures=figures,
        charts=table.charts(),
        summary=summary_of(table.about),
        pictures=table.pictures(),
        subtitle=subtitle,
        tables=[pages.Table(*table.cells())],
        notes=[*table.notes(), *protocols],
        pixelated=any(max(strip.sharp.shape[:2]) <= _SMALL for strip in table.strips),
    )


def _embedded(image: np.ndarray) -> str:
    """Returns the center of a picture, uint8 [h, w, 3], as a data URL."""
    return address(image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices])
