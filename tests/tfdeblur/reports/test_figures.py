"""Charts as SVG elements and as image files."""

import concurrent.futures
import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.io.outputs import OutputFolder
from tfdeblur.reports import figures
from tfdeblur.reports.charts import Chart, histogram

RISING = Chart("PSNR", {"restored": [(0, 24.5), (1000, 28.25)]}, levels={"input": 25.0})


def parse(chart):
    return ElementTree.fromstring(figures.svg(chart))


def texts(svg):
    return [element.text for element in svg.iter("text")]


def test_svg_shows_title_labels_and_last_values():
    svg = parse(RISING)
    assert svg.get("aria-label") == "PSNR"
    assert {"PSNR", "images seen", "restored: 28.25", "input: 25"} <= set(texts(svg))


def test_svg_of_special_characters_keeps_them_as_text():
    title = "$x$ & <b> \\alpha"
    svg = parse(Chart(title, {"<i> $y$ _2": [(0, 1), (1, 2)]}))
    assert svg.get("aria-label") == title
    assert {title, "<i> $y$ _2: 2"} <= set(texts(svg))


def test_svg_of_odd_names_draws_every_series():
    points = [(0, 1), (1, 2)]
    for kind in ("lines", "dots", "bars"):
        svg = parse(Chart("t", {"_a": points, "": points, "b": points}, kind=kind))
        labels = [text.strip() for text in texts(svg)]
        assert any(label.startswith("_a") for label in labels)
        assert len({path.get("style") for path in svg.iter("path")}) > 3


def test_svg_has_no_ids_and_uses_the_variables_of_the_page():
    text = figures.svg(RISING)
    assert not re.search(r"\b(id|href)=|url\(|<style", text)
    assert {"var(--s0,", "var(--s1,", "var(--soft,", "var(--rule,"} <= set(
        re.findall(r"var\(--\w+,", text)
    )


def test_line_points_are_placed_in_proportion():
    svg = parse(Chart("t", {"a": [(0, 0), (1, 1), (2, 0)]}))
    (x0, y0), (x1, y1), (x2, y2) = [
        (float(c.get("cx")), float(c.get("cy"))) for c in svg.iter("circle")
    ][:3]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 == y2 > y1  # y points down in SVG


def test_log_axis_spaces_powers_evenly_and_omits_negative_values():
    chart = Chart("t", {"a": [(0, 1e-3), (1, 1e-2), (2, 1e-1), (3, -1)]}, log_y=True)
    svg = parse(chart)
    dots = [c for c in svg.iter("circle") if c.find("title") is not None]
    ys = [float(c.get("cy")) for c in dots]
    assert len(ys) == 3
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert {"1e-3", "2e-3", "5e-3", "0.01", "0.02", "0.05", "0.1"} <= set(texts(svg))


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(numbers, numbers), max_size=20), st.booleans())
@settings(max_examples=25, deadline=None)
def test_svg_of_any_values_is_finite(points, log_y):
    text = figures.svg(Chart("t", {"a": points}, levels={"input": 1.0}, log_y=log_y))
    ElementTree.fromstring(text)
    assert not re.search(r'"[^"]*\b(nan|inf)\b', text)


def test_svg_without_finite_points_states_that_there_are_no_values():
    chart = Chart("t", {"a": [], "b": [(0, math.nan)]}, levels={"level": 2.0})
    assert texts(parse(chart)) == ["No values yet.", "t"]


def test_hover_text_of_a_dot_names_the_point_although_others_are_omitted():
    points = [(1, 2), (math.nan, 0), (3, 4)]
    chart = Chart("t", {"a": points}, kind="dots", names={"a": ["one", "bad", "three"]})
    found = [element.text for element in parse(chart).iter("title")]
    assert found == ["one: 2 at 1", "three: 4 at 3"]


def test_hover_text_of_a_dot_without_a_name_is_that_of_its_series():
    chart = Chart("t", {"a": [(1, 2)]}, kind="dots", names={"a": ["one", "two"]})
    assert [element.text for element in parse(chart).iter("title")] == ["a: 2 at 1"]


def test_dots_beyond_the_hover_limit_are_one_path_of_all_dots():
    points = [(float(x), float(x % 40)) for x in range(figures._MAX_HOVER + 1)]
    svg = parse(Chart("t", {"a": points}, kind="dots"))
    assert not list(svg.iter("title"))
    dots = max(path.get("d").count("h0") for path in svg.iter("path"))
    assert 0.9 * len(points) < dots <= len(points)  # dots at the same place are drawn once


def test_svg_size_of_500_points_is_below_60_kb():
    points = [(x, math.sin(x * x)) for x in range(500)]
    names = {"a": [f"GOPR0384_11_00 / {x:06d}" for x in range(500)]}
    assert len(figures.svg(Chart("t", {"a": points}, kind="dots", names=names))) < 60_000
    assert len(figures.svg(Chart("t", {"a": points}))) < 20_000


def test_long_line_is_thinned_and_keeps_its_last_value():
    long = [(float(x), float(x % 7)) for x in range(9_997)]
    text = figures.svg(Chart("t", {"a": long}))
    assert len(text) < 20_000 and "<circle" not in text
    assert f"a: {long[-1][1]:g}" in texts(ElementTree.fromstring(text))


def test_histogram_is_drawn_from_its_bars():
    chart = Chart("t", {"a": histogram([1.0, 2.0, 2.1])}, kind="bars")
    assert {"a", "0", "2"} <= set(texts(parse(chart)))


def test_svg_is_the_same_in_every_thread_and_leaves_the_settings_of_the_user():
    before = dict(matplotlib.rcParams)
    charts = [RISING, Chart("other", {"a": [(0, 1), (1, 3)]}, log_y=True)] * 4
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(figures.svg, charts))
    assert drawn == [figures.svg(chart) for chart in charts]
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("extension", ["png", "pdf", "svg"])
def test_write_figures_writes_the_same_bytes_twice(tmp_path, extension):
    charts = [RISING, RISING, Chart("Gain (dB)", {})]
    out = OutputFolder(str(tmp_path / "new"))
    names = figures.write_figures(charts, out, "charts", extension)
    assert names == [f"charts/{stem}.{extension}" for stem in ("psnr", "psnr-2", "gain-db")]
    first, second = ((tmp_path / "new" / name).read_bytes() for name in names[:2])
    assert first == second and len(first) > 3_000


def test_svg_file_is_complete_and_independent_of_a_page(tmp_path):
    out = OutputFolder(str(tmp_path))
    (name,) = figures.write_figures([RISING], out, "charts", "svg")
    text = (tmp_path / name).read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "#1f66b3" in text and "var(" not in text


def test_png_shows_the_series_in_its_color(tmp_path):
    (name,) = figures.write_figures([RISING], OutputFolder(str(tmp_path)), "charts", "png")
    pixels = np.asarray(PIL.Image.open(tmp_path / name).convert("RGB"))
    assert pixels.shape == (660, 1280, 3)
    for color in ((0x1F, 0x66, 0xB3), (0xD0, 0x6A, 0x1C)):
        assert (pixels == color).all(-1).sum() > 500
