"""Draws charts with matplotlib: SVG for pages, and image files for papers.

Uses matplotlib's object interface, so that pyplot's state and the user's settings stay untouched
and any thread may draw. Importing this module imports matplotlib, so import it where it is used.
"""

import dataclasses
import html
import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfdeblur.errors import UserError
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.ops.tiling import Box
from tfdeblur.reports.charts import Chart, FigureFormat, Point, number

# Variables of page.css.j2, with their values in light mode.
_SERIES_COLORS = ("#1f66b3", "#d06a1c", "#1e8a68", "#8a4fb0", "#b8324f", "#7a7f88")
_INK, _SOFT, _RULE = "#1d1f23", "#6a6e76", "#e4e1da"
_VARIABLES = {
    **{color: f"--s{index}" for index, color in enumerate(_SERIES_COLORS)},
    _INK: "--ink",
    _SOFT: "--soft",
    _RULE: "--rule",
}
_SIZE = (6.4, 3.3)  # inches
_PICTURE_INCHES = 2.2
_CAPTION_INCHES = 0.36
_GAP_INCHES = 0.06
_SMOOTH_SIDE = 200  # smaller pictures keep the edges of their pixels
_REGION_COLORS = ("#ffd400", "#2fd06b", "#ff5a36", "#35b8ff", "#d873ff", "#ffffff")
_FILE_DPI = 200
_MAX_LINE_POINTS = 400  # evenly picked from a longer line
_MAX_MARKED = 60  # a longer line is drawn without a dot at each of its points
_MAX_HOVER = 1500  # each dot with a hover text adds about 100 bytes to a page
_MAX_VECTOR_DOTS = 3000  # more dots in a PDF file are an image
_LEGEND_CHARACTERS = 84  # that fit in the width of the figure


def svg(chart: Chart) -> str:
    """Returns a chart as an SVG element for a page.

    Its text is text, in the page's font. Its colors are the page's CSS variables, so that they
    follow its light or dark mode. It contains no ids, so a page may hold any number of charts.
    """
    text = _svg(chart, f'role="img" aria-label="{html.escape(chart.title)}"')
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable},{color})")
    return text


def _svg(chart: Chart, attributes: str) -> str:
    """Returns a chart as an SVG element with further attributes."""
    figure = draw(chart)
    figure.patch.set_visible(False)
    figure.dpi = 72  # RendererSVG measures in points
    width, height = figure.get_size_inches() * 72
    buffer = io.StringIO()
    renderer = _InlineRenderer(width, height, buffer, _hover_texts(chart))
    figure.draw(renderer)
    renderer.finalize()
    drawn = buffer.getvalue()
    # Without the prolog, metadata, and a style sheet that would apply to the whole page.
    body = "\n".join(line.strip() for line in drawn[drawn.index("<g>") :].splitlines())
    return f'<svg viewBox="0 0 {width:g} {height:g}" {attributes}>\n{body}'


def write_figures(
    charts: Sequence[Chart], out: OutputFolder, folder: str, extension: FigureFormat
) -> list[str]:
    """Writes each chart to a file named after its title.

    The same chart gives the same bytes with the same version of matplotlib.

    Args:
        charts: The charts.
        out: The output folder of the command.
        folder: Folder for the files inside it.
        extension: Format of the files.

    Returns:
        The names of the files in `out`, in the order of the charts.

    Raises:
        UserError: A file cannot be written.
    """
    names: list[str] = []
    for chart in charts:
        stem = re.sub(r"[^a-z0-9]+", "-", chart.title.lower()).strip("-") or "chart"
        name = f"{folder}/{stem}.{extension}"
        if name in names:
            name = f"{folder}/{stem}-{len(names) + 1}.{extension}"
        out.write_bytes(name, _encoded(chart, extension))
        names.append(name)
    return names


def _encoded(chart: Chart, extension: FigureFormat) -> bytes:
    if extension == "svg":
        namespace = 'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"'
        return _svg(chart, namespace).encode()
    return encoded(draw(chart), extension)


def encoded(figure: Figure, extension: FigureFormat) -> bytes:
    """Returns a figure as a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(extension, {})
    figure.savefig(buffer, format=extension, dpi=_FILE_DPI, metadata=metadata)
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True, eq=False)
class PictureRow:
    """Pictures side by side.

    Attributes:
        title: Text above the row.
        pictures: uint8 [h, w, 3] by caption; of one size if there are regions.
        regions: Regions that are marked in each picture, and magnified below it.
    """

    title: str
    pictures: Mapping[str, np.ndarray]
    regions: Sequence[Box] = ()


def draw_pictures(rows: Sequence[PictureRow]) -> Figure:
    """Returns a figure of rows of pictures, with magnified regions below each row.

    Args:
        rows: The rows; at least one.

    Raises:
        UserError: A region lies outside its pictures.
    """
    columns = max(len(row.pictures) for row in rows)
    heights: list[float] = []
    lines: list[tuple[PictureRow, Box | None]] = []
    for row in rows:
        shapes = [picture.shape[:2] for picture in row.pictures.values()]
        sides = (min(height for height, _ in shapes), min(width for _, width in shapes))
        for region in row.regions:
            if region.bottom > sides[0] or region.right > sides[1]:
                raise UserError(
                    f"The region {region.left},{region.top},{region.width}x{region.height} lies "
                    f"outside the picture {row.title} of {sides[1]}x{sides[0]} pixels."
                )
        lines.append((row, None))
        heights.append(_PICTURE_INCHES * max(h / w for h, w in shapes) + _CAPTION_INCHES)
        for region in row.regions:
            lines.append((row, region))
            heights.append(_PICTURE_INCHES * region.height / region.width + _GAP_INCHES)
    total = sum(heights)
    figure = Figure(figsize=(columns * (_PICTURE_INCHES + _GAP_INCHES), total), facecolor="white")
    FigureCanvasAgg(figure)
    bottom = total
    for (row, box), height in zip(lines, heights, strict=True):
        bottom -= height
        above = _CAPTION_INCHES if box is None else _GAP_INCHES
        for column, (caption, image) in enumerate(row.pictures.items()):
            left = column * (_PICTURE_INCHES + _GAP_INCHES) + _GAP_INCHES / 2
            place = (left, bottom, _PICTURE_INCHES, height - above)
            scale = (*figure.get_size_inches(), *figure.get_size_inches())
            axes = figure.add_axes(tuple(p / s for p, s in zip(place, scale, strict=True)))
            _show(axes, image if box is None else image[box.slices])
            if box is None:
                axes.set_title(caption, fontsize=8, color=_INK, parse_math=False, pad=3)
                for index, region in enumerate(row.regions):
                    axes.add_patch(_frame_of(region, _region_color(index)))
            else:
                color = _region_color(list(row.regions).index(box))
                for spine in axes.spines.values():
                    spine.set(visible=True, color=color, linewidth=1.5)
    return figure


def _region_color(index: int) -> str:
    return _REGION_COLORS[index % len(_REGION_COLORS)]


def _frame_of(box: Box, color: str) -> Rectangle:
    corner = (box.left - 0.5, box.top - 0.5)
    return Rectangle(corner, box.width, box.height, fill=False, edgecolor=color, linewidth=1.2)


def _show(axes: Axes, image: np.ndarray) -> None:
    """Shows a picture without axes; small ones keep their pixels' edges."""
    small = max(image.shape[:2]) < _SMOOTH_SIDE
    axes.imshow(image, interpolation="nearest" if small else "antialiased")
    axes.set_anchor("N")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw(chart: Chart) -> Figure:
    """Returns a chart as a matplotlib figure, with title, axes and legend."""
    figure = Figure(figsize=_SIZE, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _set_up(axes, chart)
    series = {name: _drawable(points, chart.log_y) for name, points in chart.series.items()}
    if not any(series.values()):
        axes.set_axis_off()
        text = axes.text(0.5, 0.5, "No values yet.", color=_SOFT, fontsize=10, ha="center")
        text.set_transform(axes.transAxes)
        return figure
    plot = {"lines": _plot_line, "dots": _plot_dots, "bars": _plot_bars}[chart.kind]
    colors = itertools.cycle(_SERIES_COLORS)
    color = _SERIES_COLORS[0]
    for name, points in series.items():
        if points:
            color = color if name in chart.dashed else next(colors)
            plot(axes, name, [point for _, point in points], color)
    for line in axes.get_lines():
        if line.get_gid() in chart.dashed:
            line.set_dashes((5, 2))
            line.set_marker("")
    for name, y in chart.levels.items():
        if _drawable([(0, y)], chart.log_y):
            label = f"{_label(name)}: {number(y)}"
            line = axes.axhline(y, color=next(colors), linewidth=1.2, clip_on=False, label=label)
            line.set_dashes((4, 4))
    if chart.log_y:
        low, high = axes.get_ylim()
        subs = (1, 2, 5) if high < 300 * low else (1,)
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    _add_legend(figure, axes)
    return figure


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Adds a legend below the axes, with as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    columns = _LEGEND_CHARACTERS // (max(map(len, labels), default=0) + 7)
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=max(1, min(columns, len(labels))),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may contain dollar signs


def _label(name: str) -> str:
    """Returns a label for the legend, from which matplotlib omits names with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _set_up(axes: Axes, chart: Chart) -> None:
    axes.patch.set_visible(False)
    plain: dict[str, Any] = {"parse_math": False}
    axes.set_title(chart.title, loc="left", color=_INK, fontsize=10, fontweight="bold", **plain)
    axes.set_xlabel(chart.x_label, loc="right", color=_SOFT, fontsize=9, **plain)
    axes.set_ylabel(chart.y_label, color=_SOFT, fontsize=9, **plain)
    axes.margins(x=0.02 if chart.kind == "dots" else 0, y=0.06)
    if chart.log_y:
        axes.set_yscale("log")
    # Without tick marks and clipping the SVG needs no definitions, which are found by id.
    axes.tick_params(length=0, labelcolor=_SOFT, labelsize=9)
    axes.grid(axis="y", color=_RULE, linewidth=0.8, clip_on=False)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: number(value))


def _plot_line(axes: Axes, name: str, points: Sequence[Point], color: str) -> None:
    indices = np.linspace(0, len(points) - 1, min(len(points), _MAX_LINE_POINTS)).round()
    axes.plot(
        *zip(*(points[int(index)] for index in indices), strict=True),
        color=color,
        linewidth=1.5,
        marker="o" if len(points) <= _MAX_MARKED else None,
        markersize=3,
        markeredgewidth=0,
        clip_on=False,
        label=f"{_label(name)}: {number(points[-1][1])}",
        gid=name,
    )


def _plot_dots(axes: Axes, name: str, points: Sequence[Point], color: str) -> None:
    axes.plot(
        *zip(*points, strict=True),
        color=color,
        linestyle="none",
        marker="o",
        markersize=5,
        markeredgewidth=0,
        alpha=0.7,
        clip_on=False,
        rasterized=len(points) > _MAX_VECTOR_DOTS,
        label=_label(name),
        gid=name,
    )


def _plot_bars(axes: Axes, name: str, points: Sequence[Point], color: str) -> None:
    edges, heights = zip(*points, strict=True)
    axes.stairs(
        heights[:-1],
        edges,
        fill=True,
        facecolor=(color, 0.4),
        edgecolor=color,
        linewidth=1,
        clip_on=False,
        label=_label(name),
    )


class _InlineRenderer(RendererSVG):
    """Writes the parts of an SVG element without ids, and with hover texts.

    Args:
        width: Width in points.
        height: Height in points.
        buffer: Receives the text.
        hover_texts: For the series of each gid the hover texts of its dots.
    """

    def __init__(
        self,
        width: float,
        height: float,
        buffer: io.StringIO,
        hover_texts: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(width, height, buffer, metadata={"Date": None})
        self._hover_texts = hover_texts
        self._gid: str | None = None

    def open_group(self, s: str, gid: str | None = None) -> None:
        self._gid = gid
        self.writer.start("g")

    def draw_markers(
        self,
        gc: Any,
        marker_path: Any,
        marker_trans: Any,
        path: Any,
        trans: Any,
        rgbFace: Any = None,
    ) -> None:
        points = trans.transform(path.vertices) * (1, -1) + (0, self.height)
        radius = marker_path.get_extents(marker_trans).width / 2
        color = to_hex(gc.get_rgb())
        opacity = f"{gc.get_rgb()[3]:g}"
        texts = self._hover_texts.get(self._gid or "", ())
        if len(texts) != len(points):
            # One path of lines without length, whose round caps are the dots.
            dots = dict.fromkeys(f"M{x:.0f} {y:.0f}h0" for x, y in points)
            style = f"fill:none;stroke:{color};stroke-width:{2 * radius:g};stroke-linecap:round"
            self.writer.element("path", d="".join(dots), style=f"{style};stroke-opacity:{opacity}")
            return
        group = self.writer.start("g", style=f"fill:{color};fill-opacity:{opacity}")
        for (x, y), text in zip(points, texts, strict=True):
            circle = self.writer.start("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}")
            self.writer.element("title", text)
            self.writer.close(circle)
        self.writer.close(group)

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        # Placed by its anchor, because the page's font is not the one that was measured.
        anchor_x, anchor_y = mtext.get_transform().transform(mtext.get_unitless_position())
        x, y = (x, self.height - anchor_y) if angle else (anchor_x, y)
        attributes = {
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "font-size": f"{prop.get_size_in_points():g}",
            "text-anchor": {"left": "start", "center": "middle", "right": "end"}[mtext.get_ha()],
            "style": f"fill:{to_hex(gc.get_rgb())}",
        }
        if angle:
            attributes["transform"] = f"rotate({-angle:g} {x:.1f} {y:.1f})"
        if prop.get_weight() != "normal":
            attributes["font-weight"] = str(prop.get_weight())
        self.writer.element("text", s, attrib=attributes)


def _hover_texts(chart: Chart) -> dict[str, list[str]]:
    """Returns the text of each dot of a series, for series that are short enough."""
    found = {}
    limit = _MAX_HOVER if chart.kind == "dots" else _MAX_MARKED
    for name, points in chart.series.items():
        drawn = _drawable(points, chart.log_y)
        names = chart.names.get(name, ())
        if len(names) != len(points):
            names = [name] * len(points)
        if len(drawn) <= limit:
            found[name] = [f"{names[index]}: {number(y)} at {number(x)}" for index, (x, y) in drawn]
    return found


def _drawable(points: Sequence[Point], log_y: bool) -> list[tuple[int, Point]]:
    """Returns the points that can be drawn, each with its index."""
    return [
        (index, (float(x), float(y)))
        for index, (x, y) in enumerate(points)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)
    ]
