"""What happens between loops: scalars, validation, checkpoints, pictures, the progress line."""

import dataclasses
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
from tfdeblur.training.history import History
from tfdeblur.training.incidents import Incidents
from tfdeblur.training.loop import Diverged, Report
from tfdeblur.training.state import TrainingState

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

HIGHER_IS_BETTER = {"psnr_db": True, "ssim": True, "mse": False, "mae": False, "log_cosh": False}


class LogHook:
    """Writes the step's scalars, the learning rates, the speed, and what was survived."""

    def __init__(self, history: History, state: TrainingState, incidents: Incidents) -> None:
        self._history = history
        self._state = state
        self._incidents = incidents

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
                **({} if report.waiting is None else {"waiting_for_data": report.waiting}),
                **self._incidents.counts(),
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
        records: The places of those N images in the validation split, from 0.
    """

    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    pictures: Mapping[str, Sequence[np.ndarray]]
    records: Sequence[int]


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
        if _is_better(self._metric, value, best):
            self._store.save_best(self._state, validation.metrics)
        self._gallery.add(report, validation, self._history)
        gain = value - validation.baseline[self._metric]
        tqdm.write(
            f"epoch {report.epoch:.2f}, {report.images:,} images: val {self._metric} {value:.4g} "
            f"({gain:+.4g} against the blurred input)"
        )


def _is_better(metric: str, value: float, best: float | None) -> bool:
    # Where all blurred images of the split equal their truth, there is no PSNR.
    if not math.isfinite(value):
        return False
    if best is None:
        return True
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
        self._known: set[int] = set()
        files.make_dirs(self._folder)

    def add(self, report: Report, validation: Validation, history: History) -> None:
        """Writes the pictures of a validation and the page anew."""
        pictures = validation.pictures
        triples = list(
            zip(pictures["blurred"], pictures["restored"], pictures["truth"], strict=True)
        )
        for record, (blurred, restored, truth) in zip(validation.records, triples, strict=True):
            self._begin(record, {"blurred": blurred, "truth": truth})
            self._save(f"{_restored(record)}{report.images:012d}.png", restored)
        if triples:
            strips = np.stack([np.concatenate(triple, axis=1) for triple in triples])
            history.add_pictures(report.images, "blurred-restored-truth", strips)
        self._write_page(report, validation, history)

    def _begin(self, record: int, given: Mapping[str, np.ndarray]) -> None:
        """Sees to it that what was given to the network is there, and is what it was before.

        With another validation split, what stands under a record's number is another image.
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
        prefix = _restored(record)
        return [
            int(name.removeprefix(prefix).removesuffix(".png"))
            for name in files.list_dir(self._folder)
            if name.startswith(prefix) and name.endswith(".png")
        ]

    def _save(self, name: str, image: np.ndarray) -> None:
        data = tf.io.encode_png(image).numpy()
        files.write_bytes(files.join(self._folder, name), data)

    def _write_page(self, report: Report, validation: Validation, history: History) -> None:
        rows = []
        for record in validation.records:
            # What a run that was cut off left behind is not part of this one.
            stages = [stage for stage in self._stages(record) if stage <= report.images]
            row = {"blurred": f"{PICTURES}/{record:06d}-blurred.png"}
            for stage in _spread(stages):
                row[f"{stage / report.epoch_images:.3g} epochs"] = (
                    f"{PICTURES}/{_restored(record)}{stage:012d}.png"
                )
            row["truth"] = f"{PICTURES}/{record:06d}-truth.png"
            rows.append((f"Validation image {record}", row))
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


def check_weights(state: TrainingState) -> None:
    """Looks whether weights are worth saving.

    Raises:
        Diverged: Some are not finite. A step's losses tell that only one step later.
    """
    broken = state.broken_players()
    if broken:
        raise Diverged(
            f"Training diverged before image {state.images_seen:,}: weights of the "
            f"{' and the '.join(broken)} are not finite. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or use --precision float32."
        )


class SaveHook:
    """Writes checkpoints."""

    def __init__(
        self, store: CheckpointStore, state: TrainingState, validator: ValidateHook | None
    ) -> None:
        self._store = store
        self._state = state
        self._validator = validator

    def __call__(self, report: Report) -> None:
        """Writes one, with the latest validation's scores.

        Raises:
            Diverged: There are weights that are not finite: they would not be worth going on from.
        """
        check_weights(self._state)
        self._store.save(self._state, self._validator.latest if self._validator else {})


class Progress:
    """The line on the terminal: images, rate, time left, the loss, and what was survived."""

    def __init__(self, done: int, total: int, incidents: Incidents) -> None:
        self._incidents = incidents
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
        counts = {
            name.removeprefix("guards/"): f"{value:.0f}"
            for name, value in self._incidents.counts().items()
        }
        self._bar.set_postfix({**losses, **counts}, refresh=False)
        self._bar.update(images)

    def go_back(self, images: int) -> None:
        """Moves back to a count of images."""
        self._bar.n = images
        self._bar.refresh()
