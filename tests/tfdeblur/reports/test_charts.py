"""Where the lines, ticks and labels of a chart stand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfdeblur.reports import charts
from tfdeblur.reports.charts import Chart, lay_out


def corners(line):
    return [tuple(map(float, pair.split(","))) for pair in line.points.split()]


def test_points_stand_in_proportion():
    layout = lay_out(Chart("t", {"a": [(0, 0), (1, 1), (2, 0)]}))
    (x0, y0), (x1, y1), (x2, y2) = corners(layout.lines[0])
    assert (x0, x2) == (layout.left, layout.right)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y0 == y2 > y1  # up is less in SVG


def test_a_logarithmic_axis_spaces_powers_evenly():
    layout = lay_out(Chart("t", {"a": [(0, 1e-3), (1, 1e-2), (2, 1e-1), (3, -1)]}, log_y=True))
    ys = [y for _, y in corners(layout.lines[0])]
    assert len(ys) == 3
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    labels = [tick.label for tick in layout.y_ticks]
    assert labels == ["1e-3", "2e-3", "5e-3", "0.01", "0.02", "0.05", "0.1"]


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(numbers, numbers), max_size=20), st.booleans())
def test_everything_stays_inside_whatever_the_values(points, log_y):
    layout = lay_out(Chart("t", {"a": points}, levels={"input": 1.0}, log_y=log_y))
    for line in layout.lines:
        for x, y in corners(line):
            assert layout.left - 0.2 <= x <= layout.right + 0.2
            assert layout.top - 0.2 <= y <= layout.bottom + 0.2
    for tick in (*layout.x_ticks, *layout.y_ticks):
        assert math.isfinite(tick.at)


def test_no_finite_point_means_no_line():
    assert lay_out(Chart("t", {"a": [], "b": [(0, math.nan)]}, levels={"l": 2.0})).lines == ()


def test_one_point_is_a_dot_in_the_middle():
    layout = lay_out(Chart("t", {"a": [(5, 2.5)]}))
    (dot,) = layout.lines[0].dots
    assert dot.label == "a: 2.5 at 5"
    assert layout.left < dot.x < layout.right


def test_levels_are_drawn_across():
    layout = lay_out(Chart("t", {"a": [(0, 1), (9, 2)]}, levels={"input": 3.0}))
    level = layout.lines[1]
    assert level.is_level and level.name == "input"
    (x0, y0), (x1, y1) = corners(level)
    assert (x0, x1) == (layout.left, layout.right)
    assert y0 == y1 < min(y for _, y in corners(layout.lines[0]))


def test_long_series_are_thinned_but_keep_their_ends():
    points = [(float(i), float(i * i)) for i in range(10_000)]
    thinned = charts.thin(points)
    assert len(thinned) == 400
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert not lay_out(Chart("t", {"a": points})).lines[0].dots


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (23.4, 29.1, [24, 26, 28]),
        (24.1, 29.0, [25, 26, 27, 28, 29]),
        (0, 1_250_000, [0, 5e5, 1e6]),
        (-0.11, 0.11, [-0.1, -0.05, 0, 0.05, 0.1]),
    ],
)
def test_ticks_are_round(low, high, wanted):
    assert charts.ticks(low, high, 6) == pytest.approx(wanted)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 12))
def test_ticks_are_few_and_inside(low, extent, most):
    found = charts.ticks(low, low + extent, most)
    slack = 1e-6 * max(abs(low), extent)
    assert len(found) <= most
    assert all(low - slack <= tick <= low + extent + slack for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (28.3149, "28.31"),
        (9999, "9999"),
        (48_000, "48k"),
        (1_250_000, "1.25M"),
        (3e9, "3G"),
        (0.00619, "6.2e-3"),
        (-0.5, "-0.5"),
        (1e-4, "1e-4"),
    ],
)
def test_numbers_are_as_short_as_a_reader_needs(value, text):
    assert charts.number(value) == text


@given(st.floats(-30, 30), st.floats(1e-3, 40), st.integers(2, 12))
def test_logarithmic_ticks_are_few_and_inside(low, extent, most):
    found = charts.log_ticks(low, low + extent, most)
    assert len(found) <= most
    assert all(low - 1e-6 <= math.log10(tick) <= low + extent + 1e-6 for tick in found)


def test_a_scatter_has_a_named_dot_for_each_point_and_no_line():
    points = [(x % 7, x % 11) for x in range(200)]
    names = [f"frame {x}" for x in range(200)]
    chart = Chart("t", {"a": points}, kind="dots", names={"a": names})
    (line,) = lay_out(chart).lines
    assert line.points == "" and len(line.dots) == 200
    assert line.dots[3].label == "frame 3: 3 at 3"


def test_a_histogram_counts_every_value_in_bars_that_stand_on_the_floor():
    values = [0.1, 0.2, 0.25, 0.9, 1.0, math.nan, math.inf]
    points = charts.histogram(values, bins=6)
    assert sum(height for _, height in points) == 5
    edges = [x for x, _ in points]
    assert edges == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
    assert [height for _, height in points] == [1, 2, 0, 0, 1, 1, 0]
    layout = lay_out(Chart("t", {"a": points}, kind="bars"))
    (line,) = layout.lines
    assert len(line.bars) == 6 and line.points == ""
    floors = {round(bar.y + bar.height, 1) for bar in line.bars}
    assert len(floors) == 1 and line.bars[1].height > line.bars[0].height > 0
    assert line.bars[1].label == "a: 2 from 0.2 to 0.4"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_a_histogram_loses_no_value(values):
    points = charts.histogram(values)
    assert sum(height for _, height in points) == len(values)
    assert 2 <= len(points) <= 27
    assert points[0][0] <= min(values) + 1e-6 * max(1, abs(min(values)))


def test_a_histogram_of_nothing_and_of_one_value():
    assert charts.histogram([]) == charts.histogram([math.nan]) == []
    assert sum(height for _, height in charts.histogram([5.0, 5.0])) == 2
