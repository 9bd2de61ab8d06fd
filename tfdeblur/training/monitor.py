"""Warnings while a run goes on: it waits for data, or its critic has collapsed or exploded."""

import math
from collections.abc import Callable

from tqdm import tqdm

from tfdeblur.config.guards import Guards
from tfdeblur.training.loop import Report

_NORM = "/gradient_norm"
_WASSERSTEIN = "/wasserstein"

_EXPLODED = (
    "It has exploded. Try a smaller players.{player}.optimizer.learning_rate, "
    "players.{player}.optimizer.clip_norm, or with a gradient penalty a larger "
    "objective.penalty_weight."
)
_COLLAPSED = (
    "It has collapsed: it no longer tells restored images from true ones. Try more "
    "objective.critic_updates, a larger players.{player}.optimizer.learning_rate, a wider critic, "
    "or another critic.norm."
)
_GENERATOR_EXPLODED = (
    "Try a smaller optimizer.learning_rate, a warm-up (schedule.warmup), or optimizer.clip_norm."
)
_GENERATOR_STANDS = (
    "It no longer learns. Try a larger learning rate, or look whether its outputs are saturated."
)


class Watch:
    """A hook that compares what a run reports with the limits of its guards.

    The first report is passed over, since buffers fill and critics begin from nothing. What is
    wrong is told once, and again when it had been well in between.

    Args:
        guards: The limits.
        say: Takes a warning.
    """

    def __init__(self, guards: Guards, say: Callable[[str], object] = tqdm.write) -> None:
        self._guards = guards
        self._say = say
        self._reports = 0
        self._told: set[str] = set()

    def __call__(self, report: Report) -> None:
        """Warns of what has gone wrong since the last report."""
        self._reports += 1
        if self._reports == 1:
            return
        found = {}
        if report.waiting is not None and report.waiting > self._guards.data_wait:
            found["data"] = (
                f"the devices wait for data {report.waiting:.0%} of the time. Try data.cache "
                "where the data fit into memory, data built with --encoding raw, a disk nearer to "
                "the devices, more processor cores, or fewer augmentations."
            )
        for name, value in report.metrics.items():
            player, _, kind = name.rpartition("/")
            problem = self._problem(player, f"/{kind}", value)
            if problem:
                found[name] = problem
        for key in found.keys() - self._told:
            self._say(f"warning: image {report.images:,}: {found[key]}")
        self._told = set(found)

    def _problem(self, player: str, kind: str, value: float) -> str:
        guards = self._guards
        if kind == _NORM:
            least, most, what = guards.least_gradient, guards.most_gradient, "gradient norm"
        elif kind == _WASSERSTEIN:
            least, most = guards.least_wasserstein, guards.most_wasserstein
            what = "Wasserstein estimate"
        else:
            return ""
        size = abs(value)
        if not math.isfinite(value) or least <= size <= most:
            return ""
        small = size < least
        if player == "generator":
            advice = _GENERATOR_STANDS if small else _GENERATOR_EXPLODED
        else:
            advice = _COLLAPSED if small else _EXPLODED
        limit = f"below {least:g}" if small else f"above {most:g}"
        return f"the {player}'s {what} is {value:.3g}, {limit}. {advice.format(player=player)}"
