"""The scores of all checkpoints of a run, as a table, curves and strips of pictures.

The page embeds its pictures, so that it is a single file.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.page import summary_of
from tfdeblur.evaluation.pictures import address, spread
from tfdeblur.evaluation.scores import BLURRED, RESTORED, ScoreCard
from tfdeblur.evaluation.tables import aligned_table, csv_text, plain
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import METRICS
from tfdeblur.ops import tiling
from tfdeblur.reports import pages
from tfdeblur.reports.charts import Chart

CHECKPOINTS_JSON = "checkpoints.json"
CHECKPOINTS_CSV = "checkpoints.csv"
PAGE = "checkpoints.html"

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
    """

    images: int
    epochs: float | None
    row: Mapping[str, float]

    @property
    def label(self) -> str:
        """Its name: epochs if known, else images."""
        if self.epochs is None:
            return f"{self.images:,} images"
        return f"{self.epochs:.4g} epochs"


class Strip:
    """An image of the split as restored by each checkpoint, with input and target.

    Args:
        triplet: The image; its restored picture is ignored.
    """

    def __init__(self, triplet: Triplet) -> None:
        self.caption = f"{triplet.scene} / {triplet.frame}"
        self.side = max(triplet.sharp.shape[:2])
        self._blurred = _embedded(triplet.blurred)
        self._sharp = _embedded(triplet.sharp)
        # Compressed, because a run may have hundreds of checkpoints.
        self._restored: dict[int, str] = {}

    def add(self, images: int, restored: np.ndarray) -> None:
        """Adds the picture of the checkpoint at `images` images seen; uint8 [h, w, 3]."""
        self._restored[images] = _embedded(restored)

    def row(self, stages: Sequence[Stage]) -> pages.PictureRow:
        """Returns the pictures: blurred, the given checkpoints, sharp."""
        restored = {stage.label: self._restored[stage.images] for stage in stages}
        return self.caption, {"blurred": self._blurred, **restored, "sharp": self._sharp}


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
    """

    baseline: Mapping[str, float]
    stages: Sequence[Stage]
    images: int
    differing: int
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cards: Sequence[tuple[int, float | None, ScoreCard]],
        skipped: Mapping[str, str],
        about: Mapping[str, Any],
    ) -> "CheckpointTable":
        """Builds the table from score cards.

        Args:
            cards: Images seen, epochs if known, and the card; at least one.
            skipped: See the class.
            about: See the class.
        """
        stages = [Stage(images, epochs, card.rows[RESTORED]) for images, epochs, card in cards]
        last = cards[-1][2]
        return cls(last.rows[BLURRED], stages, last.images, last.differing, skipped, about)

    @property
    def metrics(self) -> list[str]:
        """Keys of the metrics in the order of `METRICS`."""
        return [key for key in METRICS if key in self.baseline]

    def best(self) -> dict[str, int]:
        """Returns by metric the images seen of the best checkpoint, the earliest if tied."""
        found = {}
        for key in self.metrics:
            values = [
                (-METRICS[key].sign * stage.row[key], stage.images)
                for stage in self.stages
                if not math.isnan(stage.row[key])
            ]
            if values:
                found[key] = min(values)[1]
        return found

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows as texts; a star marks the best of each column."""
        best = self.best()
        header = ["images seen", "epochs", *(METRICS[key].header for key in self.metrics)]
        body = [["blurred", "", *(METRICS[key].text(self.baseline[key]) for key in self.metrics)]]
        for stage in self.stages:
            epochs = "-" if stage.epochs is None else f"{stage.epochs:.2f}"
            scores = [
                "*" * (best.get(key) == stage.images) + METRICS[key].text(stage.row[key])
                for key in self.metrics
            ]
            body.append([f"{stage.images:,}", epochs, *scores])
        return header, body

    def notes(self) -> list[str]:
        """Returns what a reader must know about the scores."""
        notes = [
            "* The best checkpoint in that column. It was selected on this split, so its score is "
            "biased; report one that was fixed in advance or selected on a validation split.",
            f"{self.images:,} images; PSNR averages over the {self.differing:,} whose input "
            "differs from the target.",
        ]
        worse = []
        for key in self.metrics:
            metric = METRICS[key]
            gains = [metric.sign * (stage.row[key] - self.baseline[key]) for stage in self.stages]
            count = sum(gain < 0 for gain in gains)
            worse += [f"{metric.title} {count}"] if count else []
        if worse:
            notes.append(
                f"Checkpoints, of {len(self.stages)}, that are worse than the blurred input "
                f"itself: {', '.join(worse)}."
            )
        notes += [f"Omitted: {message}" for message in self.skipped.values()]
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
                {"images_seen": stage.images, "epochs": stage.epochs, **plain(stage.row)}
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
            }
            for stage in self.stages
        ]
        out.write_text(CHECKPOINTS_CSV, csv_text(lines))

    def shown(self) -> list[Stage]:
        """Returns the checkpoints of a strip: evenly spaced ones, and the best by PSNR."""
        places = spread(len(self.stages), _MAX_COLUMNS)
        wanted = {self.stages[place].images for place in places}
        wanted.add(self.best().get("psnr_db", self.stages[-1].images))
        return [stage for stage in self.stages if stage.images in wanted]

    def charts(self) -> list[Chart]:
        """Returns the curves of PSNR and SSIM with the blurred input as a level."""
        in_epochs = all(stage.epochs is not None for stage in self.stages)

        def chart(key: str) -> Chart:
            points = [
                (
                    stage.epochs if in_epochs and stage.epochs is not None else float(stage.images),
                    stage.row[key],
                )
                for stage in self.stages
            ]
            return Chart(
                METRICS[key].title,
                {"restored": points},
                x_label="epochs" if in_epochs else "images seen",
                y_label=METRICS[key].unit,
                levels={"blurred input": self.baseline[key]},
            )

        return [chart("psnr_db"), chart("ssim")]


def write_page(
    table: CheckpointTable,
    strips: Sequence[Strip],
    directory: str,
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """Writes `checkpoints.html`: table, curves and strips in a single file.

    Args:
        table: The table.
        strips: Each with a picture of every checkpoint of the table.
        directory: Folder of the evaluation.
        title: Heading of the page.
        subtitle: Line below the heading.

    Returns:
        Path of the page.

    Raises:
        UserError: The page cannot be written.
    """
    shown = table.shown()
    header, body = table.cells()
    protocols = [f"{METRICS[key].title}: {METRICS[key].protocol}" for key in table.metrics]
    page = pages.render_gallery(
        title,
        summary=summary_of(table.about),
        pictures=[strip.row(shown) for strip in strips],
        curves=table.charts(),
        subtitle=subtitle,
        tables=[pages.Table(header, body)],
        notes=[*table.notes(), *protocols],
        pixelated=any(strip.side <= _SMALL for strip in strips),
    )
    OutputFolder(directory).write_text(PAGE, page)
    return files.join(directory, PAGE)


def _embedded(image: np.ndarray) -> str:
    """Returns the center of a picture, uint8 [h, w, 3], as a data URL."""
    return address(image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices])
