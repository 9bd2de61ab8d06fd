"""Callbacks: code that runs between training steps, at an interval in images or minutes.

Subclass `Callback` and pass instances to `tfdeblur.training.trainer.Trainer`. The callbacks of the
library below write scalars, validation scores, images and checkpoints.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tfdeblur.metrics import METRICS
from tfdeblur.models.generator import Generator
from tfdeblur.training.engines.engine import TRAIN_PSNR
from tfdeblur.training.gallery import Pictures, Validation
from tfdeblur.training.loop import Diverged, Report
from tfdeblur.training.state import TrainingState
from tfdeblur.training.validation import gallery_of

if TYPE_CHECKING:
    from tfdeblur.training.trainer import Trainer

# Scores of the blurred input that every validation writes, for charts.
BASELINES = ("psnr_db", "ssim")


class Callback:
    """Base class for code that runs between training steps.

    A callback is called with a `training.loop.Report` every `every` images and once more at the
    end of the run. The report has the count of images seen (`images`), the `epoch`, the means of
    the step's scalars since the last call (`metrics`, by names such as ``generator/loss``), the
    speed (`images_per_second`; None while it is unknown) and whether training has ended (`last`).

    In a job with several workers, callbacks run on each of them, at the same image counts.

    Attributes:
        every: The interval: ``"500 steps"``, ``"1 epochs"``, ``"4096 images"`` or
            ``"20 minutes"``. Counts of images are rounded up to whole steps.
        generator: The generator in training; the trainer sets it before the first call.

    Example:
        >>> class PrintLoss(Callback):
        ...     every = "100 steps"
        ...     def __call__(self, report):
        ...         print(report.images, report.metrics["generator/loss"])
    """

    every: str = "1 epochs"
    generator: Generator

    def __call__(self, report: Report) -> None:
        """Runs between two steps."""
        raise NotImplementedError


class LogCallback(Callback):
    """Writes the step's scalars, the learning rates, the speed and the incidents.

    The scalars include ``train/psnr_db``, the PSNR of the training samples as the network restored
    them for its updates, on images clipped to [0, 1]; ``epoch_seconds`` is the time of an epoch
    without validation and checkpoints.

    Args:
        run: The run; its history receives the scalars.
    """

    def __init__(self, run: "Trainer") -> None:
        self.every = run.config.output.log_every
        self._run = run

    def __call__(self, report: Report) -> None:
        """Adds one row to the history."""
        rates = self._run.state.learning_rates()
        speeds = {
            "images_per_second": report.images_per_second,
            "epoch_seconds": report.epoch_seconds,
            "waiting_for_data": report.waiting,
        }
        self._run.history.add(
            report.images,
            {
                "epoch": report.epoch,
                **report.metrics,
                **{f"{name}/learning_rate": rate for name, rate in rates.items()},
                **{name: value for name, value in speeds.items() if value is not None},
                **self._run.supervisor.incident_counts(),
            },
        )
        self._run.history.write()


class ValidationCallback(Callback):
    """Evaluates the averaged weights, keeps the best ones and adds images to the gallery.

    Args:
        run: The run.
        validate: Runs the generator over the validation split.

    Attributes:
        latest: The scores of the latest validation by name; empty before the first one.
    """

    def __init__(self, run: "Trainer", validate: Callable[[], Validation]) -> None:
        self.every = run.config.output.validate_every
        self._run = run
        self._validate = validate
        self._gallery = gallery_of(run.scaled, run.output)
        self._metric = run.config.output.best_metric
        self.latest: Mapping[str, float] = {}

    def __call__(self, report: Report) -> None:
        """Validates, and replaces the best weights if the metric has improved."""
        state, history, store = self._run.state, self._run.history, self._run.store
        with state.averaged():
            validation = self._validate()
        self.latest = validation.metrics
        history.add(
            report.images,
            {
                **{f"val/{name}": value for name, value in validation.metrics.items()},
                **{f"blurred/{name}": validation.baseline[name] for name in BASELINES},
            },
        )
        history.write()
        best = store.best_metrics().get(self._metric)
        value = validation.metrics[self._metric]
        if _is_better(self._metric, value, best):
            store.save_best(state, validation.metrics)
        self._gallery.add(report, validation.pictures, history, validation)
        gain = value - validation.baseline[self._metric]
        tqdm.write(
            f"epoch {report.epoch:.2f}, {report.images:,} images: val {self._metric} {value:.4g} "
            f"({gain:+.4g} against the blurred input)"
        )

    def has_run(self, images: int) -> bool:
        """Returns whether the history has the scores of a validation at this image count."""
        return self._run.history.has(images, f"val/{self._metric}")


def _is_better(metric: str, value: float, best: float | None) -> bool:
    # The PSNR is undefined if every blurred image of the split equals its target.
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return METRICS[metric].sign * (value - best) > 0


class PicturesCallback(Callback):
    """Adds images to the gallery of a run that has no validation data.

    Args:
        run: The run; the averaged weights of its generator restore the images.
        restore: Restores some images with the generator's current weights.
    """

    def __init__(self, run: "Trainer", restore: Callable[[], Pictures]) -> None:
        self.every = run.config.output.validate_every
        self._run = run
        self._restore = restore
        self._gallery = gallery_of(run.scaled, run.output)

    def __call__(self, report: Report) -> None:
        """Restores the images and rewrites the page."""
        with self._run.state.averaged():
            pictures = self._restore()
        self._gallery.add(report, pictures, self._run.history)


def check_weights(state: TrainingState) -> None:
    """Checks that all weights are finite; the losses show it only one step later.

    Raises:
        Diverged: Some weights are not finite.
    """
    broken = state.broken_networks()
    if broken:
        raise Diverged(
            f"Training diverged before image {state.images_seen:,}: weights of the "
            f"{' and the '.join(broken)} are not finite. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or use --precision float32."
        )


class CheckpointCallback(Callback):
    """Writes checkpoints.

    Args:
        run: The run; the scores of its latest validation are stored with its state.
    """

    def __init__(self, run: "Trainer") -> None:
        self.every = run.config.output.save_every
        self._run = run

    def __call__(self, report: Report) -> None:
        """Writes a checkpoint.

        Raises:
            Diverged: Some weights are not finite; such a checkpoint would be of no use.
        """
        run = self._run
        check_weights(run.state)
        run.store.save(run.state, run.validation.latest if run.validation else {})


class ProgressBar:
    """The progress line: images, speed, time left, losses and incidents.

    Args:
        done: Images seen so far.
        total: Images at the end of the run.
        incident_counts: Returns the counts of skipped steps and rollbacks.
    """

    def __init__(
        self, done: int, total: int, incident_counts: Callable[[], Mapping[str, float]]
    ) -> None:
        self._incident_counts = incident_counts
        self._bar: tqdm[Any] = tqdm(
            total=total, initial=done, unit="img", unit_scale=True, desc="training", smoothing=0.1
        )

    def __enter__(self) -> "ProgressBar":
        """Returns itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Closes the line, which stays on the terminal."""
        self._bar.close()

    def __call__(self, images: int, metrics: Mapping[str, float]) -> None:
        """Advances the line by a number of images."""
        losses = {
            name.removesuffix("/loss"): f"{value:.4g}"
            for name, value in metrics.items()
            if name.endswith("/loss")
        }
        if TRAIN_PSNR in metrics:
            losses["PSNR"] = f"{metrics[TRAIN_PSNR]:.2f} dB"
        counts = {
            name.removeprefix("guards/"): f"{value:.0f}"
            for name, value in self._incident_counts().items()
        }
        self._bar.set_postfix({**losses, **counts}, refresh=False)
        self._bar.update(images)

    def go_back(self, images: int) -> None:
        """Moves the line back to an image count, after a rollback."""
        self._bar.n = images
        self._bar.refresh()
