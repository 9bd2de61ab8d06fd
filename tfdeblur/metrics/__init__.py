"""Image quality metrics, each with the protocol that it follows.

A module of this package is a family of metrics. It defines `METRICS`, a sequence of `Metric`; a new
module needs no other edit to be measured, printed and written.
"""

import sys

from tfdeblur import registry
from tfdeblur.config import METRIC_FAMILIES
from tfdeblur.errors import ConfigError
from tfdeblur.metrics.metric import CEILING_DB, Metric

__all__ = ["CEILING_DB", "METRICS", "Metric", "register_metric"]

# Their columns come first in tables.
_FIRST = ("psnr", "ssim", "pixel")


def _registered() -> dict[str, Metric]:
    families = [*_FIRST, *(name for name in METRIC_FAMILIES.names() if name not in _FIRST)]
    found = [metric for family in families for metric in METRIC_FAMILIES.load(family).METRICS]
    return {metric.key: metric for metric in found}


METRICS: dict[str, Metric] = _registered()
"""All metrics by key, in the order of their columns."""


def register_metric(metric: Metric) -> None:
    """Registers a metric from outside of the library; it is measured with the others from then on.

    Registering a key again replaces the metric, so that cells of a notebook can be run again.

    Args:
        metric: The metric. If it is `quick`, validation measures it too and `output.best_metric`
            may name it.

    Raises:
        ConfigError: The key is that of a metric of the library or of another module.
    """
    registered = {m.key for m in METRICS.values() if METRIC_FAMILIES.origin(m.key) is not None}
    if metric.key in {*METRICS, *METRIC_FAMILIES.names()} - registered:
        raise ConfigError(
            f"metric {metric.key!r}: the library has a metric of that key; rename it."
        )
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    registry.register_metric(metric.key, metric, module)
    METRICS[metric.key] = metric
