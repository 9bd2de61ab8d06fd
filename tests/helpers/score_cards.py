"""Score cards made of given gains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.scores import ScoreCard, Setting
from tfdeblur.metrics import METRICS

BLURRED = Setting("blurred", "uint8", "whole")
RESTORED = Setting("restored", "float", "whole")
ROUNDED = Setting("restored", "uint8", "whole")

_PER_IMAGE = [metric.key for metric in METRICS.values() if metric.from_means is None]


def quick_card(gain_db: float = 2.0, differs: Sequence[bool] = (True, True, False)) -> ScoreCard:
    """A quick evaluation with the same gain for every image."""
    changed = np.array(differs)
    count = len(changed)
    mse = np.where(changed, np.linspace(1e-3, 3e-3, count), 0)
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(mse)
    blurred = {metric: np.full(count, 0.5) for metric in _PER_IMAGE if METRICS[metric].quick}
    blurred |= {"mse": mse, "psnr_db": psnr}
    restored = {**blurred, "mse": mse * 10 ** (-gain_db / 10), "psnr_db": psnr + gain_db}
    return ScoreCard(
        {BLURRED: blurred, RESTORED: restored},
        changed,
        np.linspace(0.1, 0.9, count),
        ["a"] * count,
        [str(i) for i in range(count)],
        about={"split": "test"},
    )


def full_card(
    gains_db: Sequence[float],
    scenes: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ScoreCard:
    """A full evaluation of whole images with the given PSNR gains."""
    rng = np.random.default_rng(seed)
    count = len(gains_db)
    before = {metric: 0.5 + 0.1 * rng.random(count) for metric in _PER_IMAGE}
    before |= {"psnr_db": 25 + rng.random(count), "psnr_y": 26 + rng.random(count)}
    after = {metric: values + 0.01 for metric, values in before.items()}
    after["psnr_db"] = before["psnr_db"] + np.array(gains_db, float)
    return ScoreCard(
        values={
            BLURRED: before,
            RESTORED: after,
            ROUNDED: {metric: values - 1e-4 for metric, values in after.items()},
        },
        differs=np.ones(count, bool),
        lost_gradient=np.linspace(0.1, 0.9, count),
        scenes=scenes or [f"scene{i // 2}" for i in range(count)],
        frames=[f"{i:04d}" for i in range(count)],
        seconds={"restored": [0.2, 0.3, 0.25]},
        about={"split": "test", "batch_size": 1, "device": "2 CPU cores", **(about or {})},
    )
