"""HTML pages of results: a summary, tables, charts and images.

One template shows a run in progress (`WORKDIR/index.html`) and every report. A page that links to
its images does so by relative path, so its folder can be moved or zipped.
"""

import dataclasses
import functools
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.reports.charts import Chart, FigureFormat

if TYPE_CHECKING:
    from tfdeblur.metrics import Metric


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first column contains the names of the rows.

    Attributes:
        header: Names of the columns.
        rows: Texts of the cells by row.
        caption: One line above the table.
        best: Cells (row, column) that are emphasized.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()


@dataclasses.dataclass(frozen=True)
class Box:
    """A labeled rectangle in an image, in pixels; dashed unless it is correct."""

    left: float
    top: float
    width: float
    height: float
    label: str
    correct: bool


@dataclasses.dataclass(frozen=True)
class BoxedImage:
    """An image of a page with rectangles.

    Attributes:
        address: Its relative path or a ``data:`` URL.
        width: Width in pixels.
        height: Height in pixels.
        boxes: The rectangles.
    """

    address: str
    width: int
    height: int
    boxes: Sequence[Box]


PictureRow = tuple[str, Mapping[str, str | BoxedImage]]
"""A caption, and by label, such as ``blurred``, an image: its relative path or a ``data:`` URL."""


def render(
    title: str,
    summary: Sequence[tuple[str, str]] = (),
    pictures: Sequence[PictureRow] = (),
    charts: Sequence[Chart] = (),
    *,
    subtitle: str = "",
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    measures: "Sequence[Metric]" = (),
    protocols: Sequence[tuple[str, str]] = (),
    slider: bool = False,
    pixelated: bool = False,
    refresh_seconds: int | None = None,
) -> str:
    """Returns a page of results as HTML.

    Args:
        title: Heading of the page.
        summary: Names and values, shown as a compact list.
        pictures: Rows of images, in order. An image with a path links to its file.
        charts: Charts.
        subtitle: One line below the title.
        tables: Tables, such as scores.
        notes: Sentences on the tables, such as how a value was measured.
        measures: Metrics whose protocols are listed; columns named after one link to it.
        protocols: Names and sentences that are listed with them.
        slider: Whether two images of a row are compared by a slider, which needs scripts.
        pixelated: Whether images are enlarged without interpolation, for images of a few dozen
            pixels.
        refresh_seconds: Interval in which the browser reloads the page, for a run in progress.

    Returns:
        The page. All texts are escaped; paths are quoted.
    """
    return _template().render(
        title=title,
        subtitle=subtitle,
        summary=summary,
        tables=tables,
        notes=notes,
        measures={metric.header: metric for metric in measures},
        protocols=protocols,
        charts=charts,
        rows=pictures,
        slider=slider,
        pixelated=pixelated,
        refresh_seconds=refresh_seconds,
    )


def write(
    directory: str,
    name: str,
    title: str,
    *,
    charts: Sequence[Chart] = (),
    figures: FigureFormat | None = None,
    **content: Any,
) -> str:
    """Writes a page to an output folder, and its charts as files to `figures_folder(name)`.

    Args:
        directory: The output folder, created if missing.
        name: Name of the page.
        title: Heading of the page.
        charts: Charts.
        figures: Format of the files; None for no files. Those of an earlier page are removed.
        **content: The other arguments of `render`.

    Returns:
        Path of the page.

    Raises:
        UserError: A file cannot be written.
    """
    out = OutputFolder(directory)
    out.write_text(name, render(title, charts=charts, **content))
    out.clear(figures_folder(name))
    if figures is not None:
        from tfdeblur.reports.figures import write_figures  # imports matplotlib

        write_figures(charts, out, figures_folder(name), figures)
    return files.join(directory, name)


def figures_folder(page: str) -> str:
    """Returns the name of the folder beside a page that contains its charts as files."""
    return f"{page.removesuffix('.html')}-figures"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfdeblur.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["link"] = urllib.parse.quote
    environment.filters["svg"] = _svg
    return environment.get_template("page.html.j2")


def _svg(chart: Chart) -> str:
    from tfdeblur.reports import figures  # imports matplotlib, which pages without charts skip

    return figures.svg(chart)
