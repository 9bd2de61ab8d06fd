"""Image quality metrics, each with the protocol that it follows.

A module of this package is a family of metrics. It defines `METRICS`, a sequence of `Metric`; a new
module needs no other edit to be measured, printed and written.
"""

from tfdeblur.config import METRIC_FAMILIES
from tfdeblur.metrics.metric import CEILING_DB, Metric

__all__ = ["CEILING_DB", "METRICS", "Metric"]

# Their columns come first in tables.
_FIRST = ("psnr", "ssim", "pixel")


def _registered() -> dict[str, Metric]:
    families = [*_FIRST, *(name for name in METRIC_FAMILIES.names() if name not in _FIRST)]
    found = [metric for family in families for metric in METRIC_FAMILIES.load(family).METRICS]
    return {metric.key: metric for metric in found}


METRICS: dict[str, Metric] = _registered()
"""All metrics by key, in the order of their columns."""
