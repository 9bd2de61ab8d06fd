"""HTML pages of results: a summary, tables, charts and images, without scripts.

The gallery page shows both a run in progress (`WORKDIR/index.html`) and the report of an
evaluation. It links to its images by relative path, so its folder can be moved or zipped.
"""

import dataclasses
import functools
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from tfdeblur.reports.charts import Chart

__all__ = ["Chart", "PictureRow", "Table", "render", "render_gallery"]

PictureRow = tuple[str, Mapping[str, str]]
"""A caption, and by label, such as ``blurred``, an image: its relative path or a ``data:`` URL."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first column contains the names of the rows.

    Attributes:
        header: Names of the columns.
        rows: Texts of the cells by row.
        caption: One line above the table.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def render_gallery(
    title: str,
    summary: Sequence[tuple[str, str]] = (),
    pictures: Sequence[PictureRow] = (),
    curves: Sequence[Chart] = (),
    *,
    subtitle: str = "",
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    pixelated: bool = False,
    refresh_seconds: int | None = None,
) -> str:
    """Returns a page of results as HTML.

    Args:
        title: Heading of the page.
        summary: Names and values, shown as a compact list.
        pictures: Rows of images, in order. An image with a path links to its file.
        curves: Charts.
        subtitle: One line below the title.
        tables: Tables, such as scores.
        notes: Sentences below the tables, such as how a value was measured.
        pixelated: Whether images are enlarged without interpolation, for images of a few dozen
            pixels.
        refresh_seconds: Interval in which the browser reloads the page, for a run in progress.

    Returns:
        The page. All texts are escaped; paths are quoted.
    """
    template = _environment().get_template("gallery.html.j2")
    return template.render(
        title=title,
        subtitle=subtitle,
        summary=summary,
        tables=tables,
        notes=notes,
        charts=curves,
        rows=pictures,
        pixelated=pixelated,
        refresh_seconds=refresh_seconds,
    )


def render(template: str, **values: Any) -> str:
    """Returns a page from another template as HTML.

    Args:
        template: Name of a file in `tfdeblur/reports/templates`.
        **values: Variables of the template. All texts are escaped.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfdeblur.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["link"] = urllib.parse.quote
    environment.filters["svg"] = _svg
    return environment


def _svg(chart: Chart) -> str:
    from tfdeblur.reports import figures  # imports matplotlib, which pages without charts skip

    return figures.svg(chart)
