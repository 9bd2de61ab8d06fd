"""Pages to look at: a summary, curves and pictures in one HTML file that needs no script.

The same page serves a run in progress (`WORKDIR/index.html`) and the report of an evaluation. It
links to its pictures by relative path, so a folder can be moved or zipped as it is.
"""

import dataclasses
import functools
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from tfdeblur.reports import charts
from tfdeblur.reports.charts import Chart

__all__ = ["Chart", "PictureRow", "Table", "render", "render_gallery"]

PictureRow = tuple[str, Mapping[str, str]]
"""A caption, and for each label, such as ``blurred``, a picture: its relative path, or the picture
itself as a ``data:`` address."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A small table; the first column names its rows.

    Attributes:
        header: Names of the columns.
        rows: Texts, as many in each row as the header has.
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
        pictures: Rows of pictures, in the order in which they shall appear. A picture opens in
            full size when it is clicked, unless it is inside the page.
        curves: Line charts.
        subtitle: One line under the title.
        tables: Tables, such as a score card.
        notes: Sentences under the tables, such as how a number was measured.
        pixelated: Whether pictures are enlarged with sharp pixel edges: right for pictures of a
            few dozen pixels, wrong for photos.
        refresh_seconds: Let the browser load the page again after so long; for a run in progress.

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
        charts=[charts.lay_out(curve) for curve in curves],
        rows=pictures,
        pixelated=pixelated,
        refresh_seconds=refresh_seconds,
    )


def render(template: str, **values: Any) -> str:
    """Returns a page of its own kind as HTML.

    Args:
        template: Name of a file in `tfdeblur/reports/templates`.
        **values: What the template asks for; all texts are escaped.
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
    return environment
