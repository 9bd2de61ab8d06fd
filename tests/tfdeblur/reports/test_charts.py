"""Histograms and short numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfdeblur.reports import charts


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
def test_number_is_formatted_in_short_form(value, text):
    assert charts.number(value) == text


def test_histogram_counts_finite_values_between_round_edges():
    values = [0.1, 0.2, 0.25, 0.9, 1.0, math.nan, math.inf]
    edges, heights = zip(*charts.histogram(values, bins=6), strict=True)
    assert edges == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert heights == (1, 2, 0, 0, 2, 0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_histogram_of_any_values_counts_each_once(values):
    points = charts.histogram(values)
    assert sum(height for _, height in points) == len(values)
    assert 2 <= len(points) <= 27
    slack = 1e-6 * max(1, *map(abs, values))
    assert points[0][0] - slack <= min(values) and max(values) <= points[-1][0] + slack


def test_histogram_without_finite_values_is_empty():
    assert charts.histogram([]) == charts.histogram([math.nan]) == []
