"""The page of a run: curves, and images of the network's progress."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfdeblur.data.encoding import decode_image, encode_image
from tfdeblur.errors import DataError
from tfdeblur.io import files
from tfdeblur.reports import pages
from tfdeblur.reports.charts import Chart
from tfdeblur.training.engines.engine import TRAIN_PSNR
from tfdeblur.training.history import History
from tfdeblur.training.loop import Report

PICTURES = "pictures"
INDEX = "index.html"

# The page shows at most this many stages of an image.
_MAX_COLUMNS = 6
# So many stages of an image are kept, about equally far apart on a logarithmic axis.
_MAX_STAGES = 24
# TensorBoard gets images when the run has seen this many times as many as at the last ones.
_GROWTH = 1.1

# Charts of the page, with the endings of the names of their scalars.
_CHARTS = {
    "Training and validation loss": ("generator/loss", "val/loss"),
    "Loss of the critic": ("critic/loss",),
    "Scores of the critic": ("critic/real", "critic/fake"),
    "Wasserstein estimate": ("/wasserstein",),
    "Gradient penalty": ("/penalty",),
    "Gradient norms": ("/gradient_norm",),
    "Skipped steps and rollbacks": ("guards/skipped_steps", "guards/rollbacks"),
}


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Some images: blurred, restored and sharp.

    Attributes:
        kind: Caption of an image on the page, such as "Validation image".
        records: Indices of the images in the split or in the training, from 0.
        blurred: The inputs; uint8 [H, W, 3] per record, as the next two.
        restored: The outputs of the network.
        sharp: The targets.
    """

    kind: str
    records: Sequence[int]
    blurred: Sequence[np.ndarray]
    restored: Sequence[np.ndarray]
    sharp: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        metrics: Scores of the restored images by name.
        baseline: Scores of the blurred images by name.
        pictures: Some of the images.
    """

    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    pictures: Pictures


class Gallery:
    """``WORKDIR/index.html``: curves, and images of the network's progress.

    Args:
        workdir: The folder to write to.
        title: Heading of the page.
        summary: Names and values at its top.
    """

    def __init__(self, workdir: str, title: str, summary: Sequence[tuple[str, str]]) -> None:
        self._workdir = workdir
        self._folder = files.join(workdir, PICTURES)
        self._title = title
        self._summary = summary
        self._known: set[int] = set()
        self._shown = 0
        files.make_dirs(self._folder)

    def add(
        self,
        report: Report,
        pictures: Pictures,
        history: History,
        validation: Validation | None = None,
    ) -> None:
        """Writes images and rewrites the page.

        Args:
            report: The current progress of the run.
            pictures: The images; a record that was added before gets another column.
            history: Provides the curves, and receives the images for TensorBoard.
            validation: Scores to show; None if the run does not validate.
        """
        triples = list(zip(pictures.blurred, pictures.restored, pictures.sharp, strict=True))
        for record, (blurred, restored, sharp) in zip(pictures.records, triples, strict=True):
            self._add_record(record, {"blurred": blurred, "sharp": sharp})
            self._save(_stage_name(record, report.images), restored)
            known = [stage for stage in self._stages(record) if stage <= report.images]
            for stage in _surplus(known):
                files.remove(files.join(self._folder, _stage_name(record, stage)))
        if triples and (report.last or report.images >= _GROWTH * self._shown):
            self._shown = report.images
            strips = np.stack([np.concatenate(triple, axis=1) for triple in triples])
            history.add_pictures(report.images, "blurred-restored-sharp", strips)
        self._write_page(report, pictures, history, validation)

    def _add_record(self, record: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes the input and the target of a record, unless the same ones exist.

        With another split, a record number refers to another image: its stages are removed.
        """
        if record in self._known:
            return
        for kind, image in images.items():
            name = f"{record:06d}-{kind}.png"
            if self._holds(name, image):
                continue
            # Earlier versions named the sharp image differently, so a missing one proves nothing.
            if kind == "blurred" or files.exists(files.join(self._folder, name)):
                for stage in self._stages(record):
                    files.remove(files.join(self._folder, _stage_name(record, stage)))
            self._save(name, image)
        self._known.add(record)

    def _holds(self, name: str, image: np.ndarray) -> bool:
        path = files.join(self._folder, name)
        if not files.exists(path):
            return False
        try:
            height, width = image.shape[:2]
            known = decode_image(files.read_bytes(path), height, width, "png")
        except DataError:  # not a PNG, a truncated one, or one of another size
            return False
        return np.array_equal(known, image)

    def _stages(self, record: int) -> list[int]:
        """Returns the image counts at which a record was restored, by any run of the folder."""
        names = (
            re.fullmatch(rf"{_restored(record)}(\d{{12,}})\.png", name)
            for name in files.list_dir(self._folder)
        )
        return [int(match[1]) for match in names if match]

    def _save(self, name: str, image: np.ndarray) -> None:
        files.write_bytes(files.join(self._folder, name), encode_image(image, "png"))

    def _write_page(
        self,
        report: Report,
        pictures: Pictures,
        history: History,
        validation: Validation | None,
    ) -> None:
        rows = []
        for record in pictures.records:
            # Later stages were left by a run that was killed after its last checkpoint.
            stages = [stage for stage in self._stages(record) if stage <= report.images]
            row = {"blurred": f"{PICTURES}/{record:06d}-blurred.png"}
            for stage in _spread(stages):
                row[f"{stage / report.epoch_images:.3g} epochs"] = (
                    f"{PICTURES}/{_stage_name(record, stage)}"
                )
            row["sharp"] = f"{PICTURES}/{record:06d}-sharp.png"
            rows.append((f"{pictures.kind} {record}", row))
        seen = [("Seen", f"{report.images:,} images, {report.epoch:.2f} epochs")]
        if known := history.series("epoch_seconds"):
            seen.append(("Time of an epoch", _duration(known[-1][1])))
        if known := history.series(TRAIN_PSNR):
            seen.append(("Training PSNR", f"{known[-1][1]:.2f} dB"))
        scores = [] if validation is None else _scores(validation)
        charts = [] if validation is None else _validation_charts(history, validation)
        size = max((max(image.shape[:2]) for image in pictures.sharp), default=0)
        page = pages.render(
            self._title,
            summary=[*self._summary, *seen, *scores],
            pictures=rows,
            charts=[*charts, *_training_charts(history)],
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
            "PSNR",
            {
                "validation": history.series("val/psnr_db"),
                "training samples": history.series(TRAIN_PSNR),
            },
            y_label="dB",
            levels={"blurred input": validation.baseline["psnr_db"]},
        ),
        Chart(
            "Validation SSIM",
            {"validation": history.series("val/ssim")},
            levels={"blurred input": validation.baseline["ssim"]},
        ),
    ]


def _duration(seconds: float) -> str:
    """Returns a duration with three digits, such as 2.51 h."""
    for limit, unit in ((3600, "h"), (60, "min")):
        if seconds >= limit:
            return f"{seconds / limit:.3g} {unit}"
    return f"{seconds:.3g} s"


def _stage_name(record: int, images: int) -> str:
    return f"{_restored(record)}{images:012d}.png"


def _restored(record: int) -> str:
    """Returns the prefix of the file names of a record's restored images."""
    return f"{record:06d}-restored-"


def _training_charts(history: History) -> list[Chart]:
    """Returns one chart per kind of scalar, with one line per network."""
    charts = []
    for title, endings in _CHARTS.items():
        names = [name for name in history.names() if name.endswith(endings)]
        series = {name: history.series(name) for name in names}
        # Losses of critics become negative, which a logarithmic axis cannot show.
        positive = all(value > 0 for points in series.values() for _, value in points)
        if series:
            charts.append(Chart(title, series, log_y=positive))
    return charts


def _spread(stages: Sequence[int]) -> list[int]:
    """Returns the first, the last, and about one stage per doubling between them."""
    stages = sorted(stages)
    if len(stages) <= _MAX_COLUMNS:
        return list(stages)
    counts = np.array(stages)
    wanted = np.geomspace(max(stages[0], 1), stages[-1], _MAX_COLUMNS)
    chosen = {int(np.abs(counts - count).argmin()) for count in wanted}
    return [stages[index] for index in sorted(chosen)]


def _surplus(stages: Sequence[int]) -> list[int]:
    """Returns the stages to delete, of neighbors with about the same image count the later one."""
    kept, surplus = sorted(stages), []
    while len(kept) > _MAX_STAGES:
        ratios = [kept[i + 1] / max(kept[i - 1], 1) for i in range(1, len(kept) - 1)]
        surplus.append(kept.pop(1 + ratios.index(min(ratios))))
    return surplus
