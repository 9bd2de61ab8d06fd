"""Charts as data: named series of points. `tfdeblur.reports.figures` draws them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Kind = Literal["lines", "dots", "bars"]
FigureFormat = Literal["pdf", "png", "svg"]
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: Title above the chart.
        series: The points (x, y) of each series, by name, in drawing order. Points that are not
            finite are omitted.
        x_label: Label of the x axis.
        y_label: Label of the y axis, such as its unit.
        levels: Horizontal dashed lines for comparison, by name, such as the blurred input's score.
        log_y: Whether the y axis is logarithmic; values that are not positive are then omitted.
        kind: `lines`; `dots`, a scatter plot; or `bars`, a histogram in which each point is the
            left edge and the height of a bar, except that the last one, of height 0, only ends
            the bar before it (see `histogram`).
        dashed: Names of series that are drawn dashed, in the color of the series before.
        names: Name of every point of a series, for `dots`; pages show it on hover.
    """

    title: str
    series: Mapping[str, Sequence[Point]]
    x_label: str = "images seen"
    y_label: str = ""
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    log_y: bool = False
    kind: Kind = "lines"
    dashed: Sequence[str] = ()
    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def histogram(values: Sequence[float], bins: int = 24) -> list[Point]:
    """Returns the bars of a histogram as points, see `Chart.kind`.

    Args:
        values: Values to count; those that are not finite are omitted.
        bins: Maximum number of bars. Their edges are round numbers.

    Returns:
        The left edge and the height of every bar, and the last edge with height 0; an empty list
        if no value is finite.
    """
    from matplotlib.ticker import MaxNLocator

    finite = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not finite.size:
        return []
    locator = MaxNLocator(bins, steps=[1, 2, 5, 10])
    edges = np.asarray(locator.tick_values(finite.min(), finite.max()))
    # The first edge may be above a value next to it, because edges are rounded.
    counts, _ = np.histogram(finite.clip(edges[0], edges[-1]), edges)
    return list(zip(edges.tolist(), [*map(float, counts), 0.0], strict=True))


def number(value: float) -> str:
    """Returns a number in a short form, such as 1.2M, 350k, 28.31 or 6.2e-3."""
    size = abs(value)
    for limit, unit, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / unit:.4g}{suffix}"
    if size >= 1e-2 or size == 0:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
