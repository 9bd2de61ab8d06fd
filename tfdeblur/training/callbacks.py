"""What happens between loops: scalars, validation, checkpoints, pictures, the progress line."""

import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

from tfdeblur.checkpoints.store import CheckpointStore
from tfdeblur.training.gallery import Gallery, Pictures, Validation
from tfdeblur.training.history import History
from tfdeblur.training.loop import Diverged, Report
from tfdeblur.training.resilience.incidents import Incidents
from tfdeblur.training.state import TrainingState

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
        gallery: Gallery,
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
        self._gallery.add(report, validation.pictures, self._history, validation)
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


class PictureHook:
    """Lets the pictures grow in a run that has nothing to validate on.

    Args:
        take: Restores some images with the generator's weights of the moment.
        state: The run; the averaged weights are shown.
        history: Gives the curves.
        gallery: Takes the pictures.
    """

    def __init__(
        self,
        take: Callable[[], Pictures],
        state: TrainingState,
        history: History,
        gallery: Gallery,
    ) -> None:
        self._take = take
        self._state = state
        self._history = history
        self._gallery = gallery

    def __call__(self, report: Report) -> None:
        """Restores the images and writes the page anew."""
        with self._state.averaged():
            pictures = self._take()
        self._gallery.add(report, pictures, self._history)


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
