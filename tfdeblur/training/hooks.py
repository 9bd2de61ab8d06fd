"""What happens between loops: scalars, validation, checkpoints, pictures, the progress line."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfdeblur import files
from tfdeblur.pages import Chart, render_gallery
from tfdeblur.training.checkpoint import CheckpointStore
from tfdeblur.training.loop import Report
from tfdeblur.training.state import TrainingState

HISTORY = "history.csv"
TENSORBOARD = "tensorboard"
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
}

HIGHER_IS_BETTER = {"psnr_db": True, "ssim": True, "mse": False, "mae": False, "log_cosh": False}


class History:
    """Scalars of a run by the images seen: a CSV file and TensorBoard curves.

    Args:
        workdir: The run's folder.
        images: Where the run stands; later rows, of a run that was cut off after its last
            checkpoint, are dropped.
    """

    def __init__(self, workdir: str, images: int) -> None:
        self._path = files.join(workdir, HISTORY)
        self._rows: dict[int, dict[str, float]] = {}
        if files.exists(self._path):
            for row in csv.DictReader(io.StringIO(files.read_text(self._path))):
                values = {name: float(value) for name, value in row.items() if value}
                seen = int(values.pop("images"))
                if seen <= images:
                    self._rows[seen] = values
        self._writer = tf.summary.create_file_writer(files.join(workdir, TENSORBOARD))

    def add(self, images: int, values: Mapping[str, float]) -> None:
        """Adds scalars to the row of a count of images."""
        self._rows.setdefault(images, {}).update(values)
        with self._writer.as_default(step=images):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def add_pictures(self, images: int, name: str, strips: np.ndarray) -> None:
        """Shows pictures in TensorBoard; uint8 [N, H, W, 3]."""
        with self._writer.as_default(step=images):
            tf.summary.image(name, strips, max_outputs=len(strips))

    def series(self, name: str) -> list[tuple[float, float]]:
        """Returns one scalar as points (images, value)."""
        return [
            (float(images), row[name]) for images, row in sorted(self._rows.items()) if name in row
        ]

    def names(self) -> list[str]:
        """Returns the names of all scalars, in the order in which they appeared."""
        return list(dict.fromkeys(name for row in self._rows.values() for name in row))

    def write(self) -> None:
        """Writes the CSV file and hands the curves to TensorBoard's file."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["images", *self.names()], lineterminator="\n")
        writer.writeheader()
        for images, row in sorted(self._rows.items()):
            writer.writerow({"images": images, **{k: repr(float(v)) for k, v in row.items()}})
        files.write_text(self._path, text.getvalue())
        self._writer.flush()


class LogHook:
    """Writes the step's scalars, the learning rates and the speed."""

    def __init__(self, history: History, state: TrainingState) -> None:
        self._history = history
        self._state = state

    def __call__(self, report: Report) -> None:
        """Adds one row."""
        rates = self._state.learning_rates()
        self._history.add(
            report.images,
            {
                "epoch": report.epoch,
                **report.metrics,
                **{f"{name}/learning_rate": rate for name, rate in rates.items()},
                "images_per_second": report.images_per_second,
            },
        )
        self._history.write()


@dataclasses.dataclass(frozen=True)
class Validation:
    """What a validation gives.

    Attributes:
        metrics: Scores of the restored images by name.
        baseline: The same of the blurred input.
        pictures: uint8 [N, H, W, 3] by kind: ``blurred``, ``restored``, ``truth``.
    """

    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    pictures: Mapping[str, Sequence[np.ndarray]]


class ValidateHook:
    """Judges the averaged weights, remembers the best, and lets the pictures grow.

    Args:
        validate: Runs the generator over the validation split.
        state: The run.
        store: Keeps the best weights.
        history: Takes the scores.
        gallery: Takes the pictures.
        metric: Names the score by which weights are the best.
    """

    def __init__(
        self,
        validate: Callable[[], Validation],
        state: TrainingState,
        store: CheckpointStore,
        history: History,
        gallery: "Gallery",
        metric: str,
    ) -> None:
        self._validate = validate
        self._state = state
        self._store = store
        self._history = history
        self._gallery = gallery
        self._metric = metric
        self.latest: Mapping[str, float] = {}

    def __call__(self, report: Report) -> None:
        """Validates; replaces the best weights where the metric says so."""
        with self._state.averaged():
            validation = self._validate()
        self.latest = validation.metrics
        self._history.add(
            report.images, {f"val/{name}": value for name, value in validation.metrics.items()}
        )
        self._history.write()
        best = self._store.best_metrics().get(self._metric)
        value = validation.metrics[self._metric]
        if best is None or _is_better(self._metric, value, best):
            self._store.save_best(self._state, validation.metrics)
        self._gallery.add(report, validation, self._history)
        gain = value - validation.baseline[self._metric]
        tqdm.write(
            f"epoch {report.epoch:.2f}, {report.images:,} images: val {self._metric} {value:.4g} "
            f"({gain:+.4g} against the blurred input)"
        )


def _is_better(metric: str, value: float, best: float) -> bool:
    if not math.isfinite(value):
        return False
    return value > best if HIGHER_IS_BETTER[metric] else value < best


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
        files.make_dirs(self._folder)

    def add(self, report: Report, validation: Validation, history: History) -> None:
        """Writes the pictures of a validation and the page anew."""
        pictures = validation.pictures
        for index, images in enumerate(
            zip(pictures["blurred"], pictures["restored"], pictures["truth"], strict=True)
        ):
            blurred, restored, truth = images
            if not files.exists(files.join(self._folder, f"{index}-truth.png")):
                self._save(f"{index}-blurred.png", blurred)
                self._save(f"{index}-truth.png", truth)
            self._save(f"{index}-restored-{report.images:012d}.png", restored)
        count = len(pictures["truth"])
        if count:
            strips = [
                np.concatenate([pictures[kind][i] for kind in ("blurred", "restored", "truth")], 1)
                for i in range(count)
            ]
            history.add_pictures(report.images, "blurred-restored-truth", np.stack(strips))
        self._write_page(report, validation, history, count)

    def _save(self, name: str, image: np.ndarray) -> None:
        data = tf.io.encode_png(image).numpy()
        files.write_bytes(files.join(self._folder, name), data)

    def _write_page(
        self, report: Report, validation: Validation, history: History, count: int
    ) -> None:
        rows = []
        for index in range(count):
            prefix = f"{index}-restored-"
            stages = [
                int(name.removeprefix(prefix).removesuffix(".png"))
                for name in files.list_dir(self._folder)
                if name.startswith(prefix) and name.endswith(".png")
            ]
            # What a run that was cut off left behind is not part of this one.
            stages = _spread([stage for stage in stages if stage <= report.images])
            row = {"blurred": f"{PICTURES}/{index}-blurred.png"}
            for stage in stages:
                row[f"{stage / report.epoch_images:.3g} epochs"] = (
                    f"{PICTURES}/{prefix}{stage:012d}.png"
                )
            row["truth"] = f"{PICTURES}/{index}-truth.png"
            rows.append((f"Validation image {index + 1}", row))
        size = max((max(image.shape[:2]) for image in validation.pictures["truth"]), default=0)
        page = render_gallery(
            self._title,
            summary=[*self._summary, *self._progress(report, validation)],
            pictures=rows,
            curves=self._charts(history, validation),
            pixelated=size <= 64,
            refresh_seconds=None if report.last else 60,
        )
        files.write_text(files.join(self._workdir, INDEX), page)

    def _progress(self, report: Report, validation: Validation) -> list[tuple[str, str]]:
        psnr, before = validation.metrics["psnr_db"], validation.baseline["psnr_db"]
        return [
            ("Seen", f"{report.images:,} images, {report.epoch:.2f} epochs"),
            ("Validation PSNR", f"{psnr:.2f} dB ({psnr - before:+.2f} against the blurred input)"),
            ("Validation SSIM", f"{validation.metrics['ssim']:.4f}"),
        ]

    def _charts(self, history: History, validation: Validation) -> list[Chart]:
        charts = [
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
        return charts + _training_charts(history)


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


class SaveHook:
    """Writes checkpoints."""

    def __init__(
        self, store: CheckpointStore, state: TrainingState, validator: ValidateHook | None
    ) -> None:
        self._store = store
        self._state = state
        self._validator = validator

    def __call__(self, report: Report) -> None:
        """Writes one, with the latest validation's scores."""
        self._store.save(self._state, self._validator.latest if self._validator else {})


class Progress:
    """The line on the terminal: images, rate, time left, and the loss."""

    def __init__(self, done: int, total: int) -> None:
        self._bar: tqdm[Any] = tqdm(
            total=total, initial=done, unit="img", unit_scale=True, desc="training", smoothing=0.1
        )

    def __enter__(self) -> "Progress":
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the line as it is."""
        self._bar.close()

    def __call__(self, images: int, metrics: Mapping[str, float]) -> None:
        """Moves on by some images."""
        losses = {
            name.removesuffix("/loss"): f"{value:.4g}"
            for name, value in metrics.items()
            if name.endswith("/loss")
        }
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update(images)
