"""The page of a run: curves, and pictures that show how the network came about."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfdeblur.io import files
from tfdeblur.reports.pages import Chart, render_gallery
from tfdeblur.training.history import History
from tfdeblur.training.loop import Report

PICTURES = "pictures"
INDEX = "index.html"

# The page shows how one picture came about in at most so many columns.
_MOST_COLUMNS = 6

# Charts of the run's page, by the ends of the names of the scalars in them.
_CHARTS = {
    "Training loss": ("/loss",),
    "Scores of the critic": ("critic/real", "critic/fake"),
    "Wasserstein estimate": ("/wasserstein",),
    "Gradient penalty": ("/penalty",),
    "Gradient norms": ("/gradient_norm",),
    "Skipped steps and returns to a checkpoint": ("guards/skipped_steps", "guards/rollbacks"),
}


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Some images as they were given, as the network restores them, and as they should be.

    Attributes:
        kind: What the page calls one of them, such as "Validation image".
        records: Their places in the split or in the training, from 0.
        blurred: The input; uint8 [H, W, 3] for each of `records`, as the next two.
        restored: What the network makes of it.
        truth: The sharp image.
    """

    kind: str
    records: Sequence[int]
    blurred: Sequence[np.ndarray]
    restored: Sequence[np.ndarray]
    truth: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Validation:
    """What a validation gives.

    Attributes:
        metrics: Scores of the restored images by name.
        baseline: The same of the blurred input.
        pictures: Some of the images.
    """

    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    pictures: Pictures


class Gallery:
    """``WORKDIR/index.html``: curves, and pictures that show how the network came about.

    Args:
        workdir: The run's folder.
        title: Heading of the page.
        summary: Names and values at its top.
    """

    def __init__(self, workdir: str, title: str, summary: Sequence[tuple[str, str]]) -> None:
        self._workdir = workdir
        self._folder = files.join(workdir, PICTURES)
        self._title = title
        self._summary = summary
        self._known: set[int] = set()
        files.make_dirs(self._folder)

    def add(
        self,
        report: Report,
        pictures: Pictures,
        history: History,
        validation: Validation | None = None,
    ) -> None:
        """Writes pictures and the page anew.

        Args:
            report: Where the run stands.
            pictures: The images; the same `records` each time let a row grow.
            history: Gives the curves, and takes the pictures for TensorBoard.
            validation: Its scores are shown too; None where there is nothing to validate on.
        """
        triples = list(zip(pictures.blurred, pictures.restored, pictures.truth, strict=True))
        for record, (blurred, restored, truth) in zip(pictures.records, triples, strict=True):
            self._begin(record, {"blurred": blurred, "truth": truth})
            self._save(f"{_restored(record)}{report.images:012d}.png", restored)
        if triples:
            strips = np.stack([np.concatenate(triple, axis=1) for triple in triples])
            history.add_pictures(report.images, "blurred-restored-truth", strips)
        self._write_page(report, pictures, history, validation)

    def _begin(self, record: int, given: Mapping[str, np.ndarray]) -> None:
        """Sees to it that what was given to the network is there, and is what it was before.

        With another split, what stands under a record's number is another image.
        """
        if record in self._known:
            return
        for kind, image in given.items():
            if not self._holds(f"{record:06d}-{kind}.png", image):
                for stage in self._stages(record):
                    files.remove(files.join(self._folder, f"{_restored(record)}{stage:012d}.png"))
                self._save(f"{record:06d}-{kind}.png", image)
        self._known.add(record)

    def _holds(self, name: str, image: np.ndarray) -> bool:
        path = files.join(self._folder, name)
        if not files.exists(path):
            return False
        try:
            return np.array_equal(tf.io.decode_png(files.read_bytes(path)).numpy(), image)
        except tf.errors.InvalidArgumentError:  # no PNG, or half of one
            return False

    def _stages(self, record: int) -> list[int]:
        """Returns the counts of images at which a record was restored, of all runs here."""
        names = (
            re.fullmatch(rf"{_restored(record)}(\d{{12,}})\.png", name)
            for name in files.list_dir(self._folder)
        )
        return [int(match[1]) for match in names if match]

    def _save(self, name: str, image: np.ndarray) -> None:
        data = tf.io.encode_png(image).numpy()
        files.write_bytes(files.join(self._folder, name), data)

    def _write_page(
        self,
        report: Report,
        pictures: Pictures,
        history: History,
        validation: Validation | None,
    ) -> None:
        rows = []
        for record in pictures.records:
            # What a run that was cut off left behind is not part of this one.
            stages = [stage for stage in self._stages(record) if stage <= report.images]
            row = {"blurred": f"{PICTURES}/{record:06d}-blurred.png"}
            for stage in _spread(stages):
                row[f"{stage / report.epoch_images:.3g} epochs"] = (
                    f"{PICTURES}/{_restored(record)}{stage:012d}.png"
                )
            row["truth"] = f"{PICTURES}/{record:06d}-truth.png"
            rows.append((f"{pictures.kind} {record}", row))
        seen = ("Seen", f"{report.images:,} images, {report.epoch:.2f} epochs")
        scores = [] if validation is None else _scores(validation)
        charts = [] if validation is None else _validation_charts(history, validation)
        size = max((max(image.shape[:2]) for image in pictures.truth), default=0)
        page = render_gallery(
            self._title,
            summary=[*self._summary, seen, *scores],
            pictures=rows,
            curves=[*charts, *_training_charts(history)],
            pixelated=size <= 64,
            refresh_seconds=None if report.last else 60,
        )
        files.write_text(files.join(self._workdir, INDEX), page)


def _scores(validation: Validation) -> list[tuple[str, str]]:
    psnr, before = validation.metrics["psnr_db"], validation.baseline["psnr_db"]
    return [
        ("Validation PSNR", f"{psnr:.2f} dB ({psnr - before:+.2f} against the blurred input)"),
        ("Validation SSIM", f"{validation.metrics['ssim']:.4f}"),
    ]


def _validation_charts(history: History, validation: Validation) -> list[Chart]:
    return [
        Chart(
            "Validation PSNR",
            {"restored": history.series("val/psnr_db")},
            y_label="dB",
            levels={"blurred input": validation.baseline["psnr_db"]},
        ),
        Chart(
            "Validation SSIM",
            {"restored": history.series("val/ssim")},
            levels={"blurred input": validation.baseline["ssim"]},
        ),
    ]


def _restored(record: int) -> str:
    """Returns how the names of a record's restored pictures begin."""
    return f"{record:06d}-restored-"


def _training_charts(history: History) -> list[Chart]:
    """Draws what the step reported: one chart a kind of scalar, a line a player."""
    charts = []
    for title, endings in _CHARTS.items():
        names = [name for name in history.names() if name.endswith(endings)]
        series = {name: history.series(name) for name in names}
        # Losses of critics go below zero, where there is no logarithm.
        positive = all(value > 0 for points in series.values() for _, value in points)
        if series:
            charts.append(Chart(title, series, log_y=positive))
    return charts


def _spread(stages: Sequence[int]) -> list[int]:
    """Keeps the first, the last, and between them about every doubling."""
    stages = sorted(stages)
    if len(stages) <= _MOST_COLUMNS:
        return list(stages)
    wanted = np.geomspace(1, len(stages), _MOST_COLUMNS).round().astype(int) - 1
    return [stages[index] for index in sorted(set(wanted.tolist()))]
