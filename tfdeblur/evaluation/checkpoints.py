"""How a network came about: one row for each checkpoint of a run, and strips of pictures.

The table and the pictures are those of papers that report every twenty epochs. The page carries
its pictures inside, so that it is one file to send.
"""

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.evaluation.scores import (
    COLUMNS,
    HIGHER_IS_BETTER,
    Row,
    ScoreCard,
    aligned_table,
    cell_text,
    csv_text,
    finite_or_none,
)
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.basic import PROTOCOLS
from tfdeblur.ops import tiling
from tfdeblur.reports import pages
from tfdeblur.reports.charts import Chart

CHECKPOINTS_JSON = "checkpoints.json"
CHECKPOINTS_CSV = "checkpoints.csv"
PAGE = "checkpoints.html"

# A strip shows at most so many checkpoints, and the best one besides.
_MOST_COLUMNS = 6

# Side of the middle that is shown of a larger picture: every checkpoint brings one more of it.
_PICTURE_SIDE = 256
_SMALL = 64


@dataclasses.dataclass(frozen=True)
class Stage:
    """One checkpoint's averages over the split.

    Attributes:
        images: Images seen when it was written.
        epochs: The same in epochs of the training data; None where the checkpoint does not say.
        row: What was measured.
    """

    images: int
    epochs: float | None
    row: Row

    @property
    def label(self) -> str:
        """Its name in words: epochs where they are known."""
        if self.epochs is None:
            return f"{self.images:,} images"
        return f"{self.epochs:.4g} epochs"


class Strip:
    """One picture of the split as the checkpoints restore it, blurred and true beside.

    Args:
        triple: The picture; its restored state is not looked at.
    """

    def __init__(self, triple: Triple) -> None:
        self.caption = f"{triple.scene} / {triple.frame}"
        self.side = max(triple.sharp.shape[:2])
        self._blurred = _inside_page(triple.blurred)
        self._truth = _inside_page(triple.sharp)
        # As PNG files and not as pixels: a run may have hundreds of checkpoints.
        self._restored: dict[int, str] = {}

    def add(self, images: int, restored: np.ndarray) -> None:
        """Adds what the checkpoint at a count of images makes of it; float32 [h, w, 3], [0, 1]."""
        self._restored[images] = _inside_page(np.rint(restored * 255).astype(np.uint8))

    def row(self, stages: Sequence[Stage]) -> pages.PictureRow:
        """Returns the strip: blurred, the given checkpoints, truth."""
        restored = {stage.label: self._restored[stage.images] for stage in stages}
        return self.caption, {"blurred": self._blurred, **restored, "truth": self._truth}


@dataclasses.dataclass(frozen=True)
class CheckpointTable:
    """What every checkpoint of a run scores on one split.

    Attributes:
        baseline: The blurred input's averages.
        stages: The checkpoints, oldest first; at least one.
        images: How many images were judged.
        differing: How many of them have an input that differs from the truth.
        skipped: What is wrong with each checkpoint that could not be judged, by its folder.
        about: Where the numbers come from; written along.
    """

    baseline: Row
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
        """Makes the table of score cards with their images seen and epochs.

        Args:
            cards: Images seen, epochs if known, and the card with its baseline; at least one.
            skipped: See the class.
            about: See the class.
        """
        stages = [Stage(images, epochs, card.restored) for images, epochs, card in cards]
        last = cards[-1][2]
        return cls(last.rows["blurred"], stages, last.images, last.differing, skipped, about)

    def best(self) -> dict[str, int]:
        """Returns by metric the images seen of the best checkpoint, the earliest of equals."""
        found = {}
        for metric in COLUMNS:
            sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
            values = [
                (sign * getattr(stage.row, metric), stage.images)
                for stage in self.stages
                if not math.isnan(getattr(stage.row, metric))
            ]
            if values:
                found[metric] = min(values)[1]
        return found

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows as texts; a star marks the best of each column."""
        best = self.best()
        header = ["images seen", "epochs", *(title for title, _, _ in COLUMNS.values())]
        body = [["blurred", "", *(cell_text(getattr(self.baseline, m), m) for m in COLUMNS)]]
        for stage in self.stages:
            epochs = "-" if stage.epochs is None else f"{stage.epochs:.2f}"
            scores = [
                "*" * (best.get(metric) == stage.images)
                + cell_text(getattr(stage.row, metric), metric)
                for metric in COLUMNS
            ]
            body.append([f"{stage.images:,}", epochs, *scores])
        return header, body

    def notes(self) -> list[str]:
        """Returns what a reader must know beside the numbers."""
        notes = [
            "* The best checkpoint in that column. Chosen on this very split, it flatters; quote "
            "one that was fixed beforehand, or chosen on a validation split.",
            f"{self.images:,} images; PSNR averages over the {self.differing:,} whose input is "
            "not the truth.",
        ]
        losing = []
        for metric, (title, _, _) in COLUMNS.items():
            before = getattr(self.baseline, metric)
            after = [getattr(stage.row, metric) for stage in self.stages]
            higher = metric in HIGHER_IS_BETTER
            worse = sum(value < before if higher else value > before for value in after)
            if worse:
                losing.append(f"{title.split(' e-')[0].removesuffix(' dB')} {worse}")
        if losing:
            notes.append(
                f"Of {len(self.stages)} checkpoints so many are worse than the blurred input "
                f"itself: {', '.join(losing)}."
            )
        notes += [f"Left out: {message}" for message in self.skipped.values()]
        notes.append("Float32 on [0, 1], restored images clipped to it, whole images, RGB.")
        return notes

    def table(self) -> str:
        """Returns the table as aligned text for a terminal."""
        return aligned_table(*self.cells(), self.notes())

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain values; None stands for undefined."""
        return {
            **self.about,
            "images": self.images,
            "differing": self.differing,
            "baseline": _plain(self.baseline),
            "checkpoints": [
                {"images_seen": stage.images, "epochs": stage.epochs, **_plain(stage.row)}
                for stage in self.stages
            ],
            "best": self.best(),
            "skipped": dict(self.skipped),
            "protocols": {name: PROTOCOLS[name] for name in COLUMNS},
        }

    def write(self, directory: str) -> None:
        """Writes `checkpoints.json` and `checkpoints.csv`, the baseline in its first line.

        Args:
            directory: Folder, made where it is missing; any scheme TensorFlow writes.

        Raises:
            UserError: It cannot be written.
        """
        out = OutputFolder(directory)
        out.write_json(CHECKPOINTS_JSON, self.to_dict())
        lines = [{"images_seen": "", "epochs": "", **dataclasses.asdict(self.baseline)}]
        lines += [
            {
                "images_seen": stage.images,
                "epochs": "" if stage.epochs is None else stage.epochs,
                **dataclasses.asdict(stage.row),
            }
            for stage in self.stages
        ]
        lines = [
            {"row": "restored" if line["images_seen"] else "blurred", **line} for line in lines
        ]
        out.write_text(CHECKPOINTS_CSV, csv_text(lines))

    def shown(self) -> list[Stage]:
        """Returns the checkpoints that a strip shows: evenly spread ones, and the best by PSNR."""
        count = len(self.stages)
        places = np.linspace(0, count - 1, min(count, _MOST_COLUMNS)).round().astype(int).tolist()
        wanted = {self.stages[place].images for place in places}
        wanted.add(self.best().get("psnr_db", self.stages[-1].images))
        return [stage for stage in self.stages if stage.images in wanted]

    def charts(self) -> list[Chart]:
        """Returns the curves of PSNR and SSIM, the blurred input as a level."""
        in_epochs = all(stage.epochs is not None for stage in self.stages)

        def chart(title: str, metric: str, unit: str) -> Chart:
            points = [
                (
                    stage.epochs if in_epochs and stage.epochs is not None else float(stage.images),
                    getattr(stage.row, metric),
                )
                for stage in self.stages
            ]
            return Chart(
                title,
                {"restored": points},
                x_label="epochs" if in_epochs else "images seen",
                y_label=unit,
                levels={"blurred input": getattr(self.baseline, metric)},
            )

        return [chart("PSNR", "psnr_db", "dB"), chart("SSIM", "ssim", "")]


def write_page(
    table: CheckpointTable,
    strips: Sequence[Strip],
    directory: str,
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """Writes `checkpoints.html`: table, curves and strips in one file without links.

    Args:
        table: The table.
        strips: Each holds a picture of every checkpoint in the table.
        directory: Folder of the evaluation.
        title: Heading of the page.
        subtitle: One line under it.

    Returns:
        The page's path.

    Raises:
        UserError: It cannot be written.
    """
    shown = table.shown()
    header, body = table.cells()
    page = pages.render_gallery(
        title,
        summary=[
            (name.replace("_", " "), str(value))
            for name, value in table.about.items()
            if isinstance(value, str | int) and value != ""
        ],
        pictures=[strip.row(shown) for strip in strips],
        curves=table.charts(),
        subtitle=subtitle,
        tables=[pages.Table(header, body)],
        notes=[*table.notes(), *PROTOCOLS.values()],
        pixelated=any(strip.side <= _SMALL for strip in strips),
    )
    OutputFolder(directory).write_text(PAGE, page)
    return files.join(directory, PAGE)


def _plain(row: Row) -> dict[str, Any]:
    return {name: finite_or_none(value) for name, value in dataclasses.asdict(row).items()}


def _inside_page(image: np.ndarray) -> str:
    """Returns the middle of a picture, uint8 [h, w, 3], as an address that holds its PNG file."""
    middle = image[tiling.middle(image.shape[0], image.shape[1], _PICTURE_SIDE).slices]
    return f"data:image/png;base64,{base64.b64encode(tf.io.encode_png(middle).numpy()).decode()}"
