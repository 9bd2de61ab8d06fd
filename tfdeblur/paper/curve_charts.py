"""Curves of runs from their histories: losses and scores by epoch or by images seen."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from tfdeblur.errors import UserError
from tfdeblur.evaluation.results import check_metrics
from tfdeblur.metrics import METRICS
from tfdeblur.metrics.generator_loss import ADVERSARIAL_LOSS, LOSS
from tfdeblur.registry import did_you_mean
from tfdeblur.reports.charts import Chart, Point
from tfdeblur.reports.histories import Rows, epoch_images

# Scalars of the training steps that measure what a validation measures.
_TRAINING = {
    LOSS: "generator/loss",
    ADVERSARIAL_LOSS: "generator/adversarial",
    "psnr_db": "train/psnr_db",
}


def curves(
    histories: Mapping[str, Rows],
    metrics: Sequence[str],
    x: Literal["epochs", "images"] = "epochs",
) -> list[Chart]:
    """Returns a chart for each metric with the curves of all runs.

    Args:
        histories: Scalars of each run by its name, see `reports.histories.read`.
        metrics: Keys of metrics. Validation curves are solid; those of training, which exist for
            the losses and the PSNR, are dashed.
        x: Unit of the x axis. An epoch is one of each run's own data.

    Raises:
        UserError: A metric is unknown or no run has it, or the length of an epoch is not known.
    """
    check_metrics(metrics)
    scales = {name: _scale(name, rows, x) for name, rows in histories.items()}
    charts = []
    for key in metrics:
        series: dict[str, list[Point]] = {}
        dashed = []
        for name, rows in histories.items():
            several = len(histories) > 1
            validation = _points(rows, f"val/{key}", key, scales[name])
            training = _points(rows, _TRAINING.get(key, ""), key, scales[name])
            if validation:
                series[name if several else "validation"] = validation
            if training:
                label = f"{name}, training" if several else "training"
                series[label] = training
                # In the color of the validation before it.
                dashed += [label] if validation else []
        if not series:
            logged = {name for rows in histories.values() for row in rows.values() for name in row}
            known = [metric for metric in METRICS if f"val/{metric}" in logged]
            raise UserError(f"metrics: no run has logged {key!r}.{did_you_mean(key, known)}")
        positive = all(y > 0 for points in series.values() for _, y in points)
        charts.append(
            Chart(
                METRICS[key].title,
                series,
                x_label="epochs" if x == "epochs" else "images seen",
                y_label=METRICS[key].unit,
                levels=_baselines(histories, key),
                log_y=key == LOSS and positive,
                dashed=tuple(dashed),
            )
        )
    return charts


def _scale(name: str, rows: Rows, x: str) -> float:
    if x == "images":
        return 1.0
    epoch = epoch_images(rows)
    if epoch is None:
        raise UserError(f"{name}: its history lacks the length of an epoch. Use --x images.")
    return 1 / epoch


def _points(rows: Rows, scalar: str, key: str, scale: float) -> list[Point]:
    factor = METRICS[key].scale
    return [
        (images * scale, row[scalar] * factor)
        for images, row in rows.items()
        if math.isfinite(row.get(scalar, math.nan))
    ]


def _baselines(histories: Mapping[str, Rows], key: str) -> dict[str, float]:
    """Returns the scores of the blurred input; one level if all runs have the same."""
    found = {}
    for name, rows in histories.items():
        known = [row[f"blurred/{key}"] for row in rows.values() if f"blurred/{key}" in row]
        if known:
            found[name] = known[-1] * METRICS[key].scale
    values = list(found.values())
    if values and max(values) - min(values) <= 1e-3 * abs(values[0]):
        return {"blurred input": values[0]}
    return {f"{name}, blurred input": value for name, value in found.items()}
