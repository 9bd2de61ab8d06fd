"""The preflight's table as docs/preflight.md shows it, from the rows in docs/preflight.json.

::

    python -m tfdeblur.preflight --recipe NAME --tpu v5e-8 --cache preflight
    python -m tests.helpers.published preflight/table.json

The first command compiles; the second merges its rows into docs/preflight.json and updates the
page. `test_published` checks that they match.
"""

import dataclasses
import json
import pathlib
import sys

from tfdeblur.tpu.table import Row, markdown

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS, PAGE = "docs/preflight.json", "docs/preflight.md"
BEGIN, END = "<!-- preflight's table -->\n", "<!-- end of preflight's table -->\n"


def load(path: pathlib.Path) -> list[Row]:
    """Returns the rows in a file written by the preflight."""
    return [Row.from_json(values) for values in json.loads(path.read_text("utf-8"))]


def merge(rows: list[Row], newer: list[Row]) -> list[Row]:
    """Replaces rows by newer ones of the same runs, unless these failed; sorts them by key."""
    by_key = {row.key: row for row in rows}
    for row in newer:
        if row.error and row.key in by_key:
            print(f"kept the older row of {row.name} on {row.slice}: {row.error}")
            continue
        by_key[row.key] = row
    return [by_key[key] for key in sorted(by_key)]


def with_table(page: str, rows: list[Row]) -> str:
    """Returns a page with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}"


def main(paths: list[str]) -> None:
    """Merges the rows of files into the published ones, and updates the page."""
    published, page = ROOT / ROWS, ROOT / PAGE
    rows = load(published) if published.exists() else []
    for path in paths:
        rows = merge(rows, load(pathlib.Path(path)))
    text = ",\n".join(json.dumps(dataclasses.asdict(row), sort_keys=True) for row in rows)
    published.write_text(f"[\n{text}\n]\n", "utf-8")
    page.write_text(with_table(page.read_text("utf-8"), rows), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
