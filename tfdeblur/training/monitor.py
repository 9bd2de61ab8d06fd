"""Warnings during training: waiting for data, exploding or vanishing gradients and critics."""

import math
from collections.abc import Callable

from tqdm import tqdm

from tfdeblur.config.guards import Guards
from tfdeblur.training.callbacks import Callback
from tfdeblur.training.loop import Report

_NORM = "/gradient_norm"
_WASSERSTEIN = "/wasserstein"

_EXPLODED = (
    "It has exploded. Try a smaller networks.{network}.optimizer.learning_rate, "
    "networks.{network}.optimizer.clip_norm, or with a gradient penalty a larger "
    "objective.penalty_weight."
)
_COLLAPSED = (
    "It has collapsed: it no longer separates restored from sharp images. Try more "
    "objective.critic_updates, a larger networks.{network}.optimizer.learning_rate, a wider "
    "critic, or another critic.norm."
)
_GENERATOR_EXPLODED = (
    "Try a smaller optimizer.learning_rate, a warm-up (schedule.warmup), or optimizer.clip_norm."
)
_GENERATOR_VANISHED = (
    "It no longer learns. Try a larger learning rate, or check whether its outputs are saturated."
)


class MonitorCallback(Callback):
    """Warns about scalars outside the limits of `config.guards`.

    The first report is ignored, because buffers are filling and critics are untrained. Each
    problem is reported once, and again if it comes back.

    Args:
        every: The interval.
        guards: The limits.
        write: Prints a warning.
    """

    def __init__(
        self, every: str, guards: Guards, write: Callable[[str], object] = tqdm.write
    ) -> None:
        self.every = every
        self._guards = guards
        self._write = write
        self._reports = 0
        self._known: set[str] = set()

    def __call__(self, report: Report) -> None:
        """Warns about new problems since the last report."""
        self._reports += 1
        if self._reports == 1:
            return
        found = {}
        if report.waiting is not None and report.waiting > self._guards.data_wait:
            found["data"] = (
                f"the devices wait for data {report.waiting:.0%} of the time. Try data.cache "
                "if the data fit into memory, data built with --encoding raw, a disk closer to "
                "the devices, more processor cores, or fewer augmentations."
            )
        for name, value in report.metrics.items():
            network, _, kind = name.rpartition("/")
            problem = self._problem(network, f"/{kind}", value)
            if problem:
                found[name] = problem
        for key in found.keys() - self._known:
            self._write(f"warning: image {report.images:,}: {found[key]}")
        self._known = set(found)

    def _problem(self, network: str, kind: str, value: float) -> str:
        guards = self._guards
        if kind == _NORM:
            lowest, highest, what = guards.min_gradient, guards.max_gradient, "gradient norm"
        elif kind == _WASSERSTEIN:
            lowest, highest = guards.min_wasserstein, guards.max_wasserstein
            what = "Wasserstein estimate"
        else:
            return ""
        size = abs(value)
        if not math.isfinite(value) or lowest <= size <= highest:
            return ""
        small = size < lowest
        if network == "generator":
            advice = _GENERATOR_VANISHED if small else _GENERATOR_EXPLODED
        else:
            advice = _COLLAPSED if small else _EXPLODED
        limit = f"below {lowest:g}" if small else f"above {highest:g}"
        return f"the {network}'s {what} is {value:.3g}, {limit}. {advice.format(network=network)}"
