"""Charts as plain geometry, for a page that needs no script to draw them.

A `Chart` is what a caller knows: named series of points. `lay_out` turns it into what an SVG
needs: polylines in pixels, ticks with their labels, a legend. The template draws the rest.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

Kind = Literal["lines", "dots", "bars"]
Point = tuple[float, float]

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 42
_MOST_POINTS = 400  # a longer series is thinned: a screen shows no more
_MOST_DOTS = 60  # up to here each point is a dot that tells its value
_PALETTE = 6  # colors that the style sheet defines


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: Stands above the chart.
        series: For each name its points (x, y). Points that are not finite are left out. They are
            drawn in the order given.
        x_label: What x counts.
        y_label: What y measures, with its unit.
        levels: Horizontal dashed lines to compare with, such as the blurred input's score.
        log_y: Whether y is drawn logarithmically; values that are not positive are then left out.
        kind: `lines`; `dots`, a scatter of points whose order means nothing; or `bars`, a
            histogram: each point is the left edge of a bar and its height, the last one's height
            is 0 and ends it.
        names: For `dots`, what each point of a series is; shown when it is pointed at.
    """

    title: str
    series: Mapping[str, Sequence[Point]]
    x_label: str = "images seen"
    y_label: str = ""
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    log_y: bool = False
    kind: Kind = "lines"
    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Tick:
    """A labeled position along an axis, in pixels."""

    at: float
    label: str


@dataclasses.dataclass(frozen=True)
class Dot:
    """A point that tells its value, in pixels."""

    x: float
    y: float
    label: str


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in pixels."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One series or level, ready to draw."""

    name: str
    color: int
    points: str
    dots: tuple[Dot, ...]
    last: str
    is_level: bool
    bars: tuple[Bar, ...] = ()


@dataclasses.dataclass(frozen=True)
class Layout:
    """A chart in pixels; `lines` is empty where no point was finite."""

    title: str
    x_label: str
    y_label: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def lay_out(chart: Chart) -> Layout:
    """Returns where everything of `chart` stands in a picture of WIDTH x HEIGHT pixels."""
    series = _shown(chart)
    levels = {n: y for n, y in chart.levels.items() if _drawable([(0.0, y)], chart.log_y)}
    if not series:
        return _layout(chart, (), (), ())

    xs = [x for points in series.values() for x, _ in points]
    ys = [_scaled(y, chart.log_y) for points in series.values() for _, y in points]
    ys += [_scaled(y, chart.log_y) for y in levels.values()]
    ys += [0.0] if chart.kind == "bars" else []
    x_low, x_high = _widened(min(xs), max(xs), 0.0)
    y_low, y_high = _widened(min(ys), max(ys), 0.06)

    def across(x: float) -> float:
        return round(_LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def down(scaled: float) -> float:
        share = (scaled - y_low) / (y_high - y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    lines = []
    for color, (name, points) in enumerate(series.items()):
        placed = [(across(x), down(_scaled(y, chart.log_y))) for x, y in points]
        if chart.kind == "bars":
            lines.append(_bars(name, color % _PALETTE, points, placed, down(0.0)))
        else:
            lines.append(_series(chart, name, color % _PALETTE, points, placed))
    for color, (name, y) in enumerate(levels.items(), start=len(series)):
        at = down(_scaled(y, chart.log_y))
        ends = f"{_LEFT},{at:g} {WIDTH - _RIGHT},{at:g}"
        lines.append(Line(name, color % _PALETTE, ends, (), number(y), is_level=True))

    x_ticks = tuple(Tick(across(x), number(x)) for x in ticks(x_low, x_high, most=7))
    marks = log_ticks(y_low, y_high, most=7) if chart.log_y else ticks(y_low, y_high, most=7)
    y_ticks = tuple(Tick(down(_scaled(y, chart.log_y)), number(y)) for y in marks)
    return _layout(chart, x_ticks, y_ticks, tuple(lines))


def histogram(values: Sequence[float], bins: int = 24) -> list[Point]:
    """Returns the bars of a histogram, see `Chart.kind`; values that are not finite are left out.

    The bars' edges are round numbers, and there are about `bins` of them.
    """
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return []
    low, high = _widened(min(found), max(found), 0.0)
    edges = ticks(low, high, bins + 1)
    step = edges[1] - edges[0]
    first = math.floor(low / step + 1e-9)
    counts = [0] * (math.floor(high / step + 1e-9) - first + 1)
    for value in found:
        place = math.floor(value / step + 1e-9) - first
        counts[min(max(place, 0), len(counts) - 1)] += 1
    ends = [float(f"{(first + place) * step:.10g}") for place in range(len(counts) + 1)]
    return list(zip(ends, [*map(float, counts), 0.0], strict=True))


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """Returns at most `most` of the points, evenly picked, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Returns up to `most` round numbers (1, 2 or 5 times a power of ten apart) in [low, high]."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((f * power for f in (1, 2, 5) if f * power >= rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Returns up to `most` round numbers between 10**low and 10**high."""
    exponents = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [f * 10.0**e for e in exponents for f in factors]
        found = [value for value in found if low <= math.log10(value) <= high]
        if 2 <= len(found) <= most:
            return found
    if len(found) > most:
        return found[:: math.ceil(len(found) / most)]
    return ticks(10**low, 10**high, most)  # too narrow for powers


def number(value: float) -> str:
    """Returns a number as short as a reader needs it: 1.2M, 350k, 28.31, 6.2e-3."""
    size = abs(value)
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / limit if suffix != 'k' else value / 1e3:.4g}{suffix}"
    if size >= 1e-2 or size == 0:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _shown(chart: Chart) -> dict[str, list[Point]]:
    """Returns the series that have points, without those that cannot be drawn."""
    series = {}
    for name, points in chart.series.items():
        found = _drawable(points, chart.log_y)
        if chart.kind == "lines":
            found = thin(found)
        if found:
            series[name] = found
    return series


def _series(
    chart: Chart, name: str, color: int, points: Sequence[Point], placed: Sequence[Point]
) -> Line:
    """Returns a line or a scatter ready to draw; `placed` are its points in pixels."""
    is_line = chart.kind == "lines"
    names = chart.names.get(name, ())
    # Names belong to points as they were given; where some were left out nobody knows whose.
    known = names if len(names) == len(points) else [name] * len(points)
    dots = tuple(
        Dot(at[0], at[1], f"{what}: {number(y)} at {number(x)}")
        for what, at, (x, y) in zip(known, placed, points, strict=True)
    )
    return Line(
        name=name,
        color=color,
        points=" ".join(f"{x:g},{y:g}" for x, y in placed) if is_line else "",
        dots=() if is_line and len(dots) > _MOST_DOTS else dots,
        last=number(points[-1][1]) if is_line else "",
        is_level=False,
    )


def _bars(
    name: str, color: int, points: Sequence[Point], placed: Sequence[Point], floor: float
) -> Line:
    """Returns a histogram ready to draw; `floor` is where a height of 0 stands in pixels."""
    bars = []
    for index, (left, height) in enumerate(points[:-1]):
        (x, y), (end, _) = placed[index], placed[index + 1]
        label = f"{name}: {number(height)} from {number(left)} to {number(points[index + 1][0])}"
        bars.append(Bar(x, y, round(end - x, 1), round(floor - y, 1), label))
    return Line(name, color, points="", dots=(), last="", is_level=False, bars=tuple(bars))


def _layout(
    chart: Chart, x_ticks: tuple[Tick, ...], y_ticks: tuple[Tick, ...], lines: tuple[Line, ...]
) -> Layout:
    return Layout(
        title=chart.title,
        x_label=chart.x_label,
        y_label=chart.y_label,
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=HEIGHT - _BOTTOM,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        lines=lines,
    )


def _drawable(points: Sequence[Point], log_y: bool) -> list[Point]:
    return [
        (float(x), float(y))
        for x, y in points
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)
    ]


def _scaled(y: float, log_y: bool) -> float:
    return math.log10(y) if log_y else y


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """A range with some room; one value alone gets a range around it."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = max(abs(low) * 0.05, 1e-3)
        return low - room, high + room
    room = (high - low) * margin
    return low - room, high + room
