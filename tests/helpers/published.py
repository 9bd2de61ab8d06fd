"""The preflight's table as README and docs/tpu.md show it, from the rows in docs/preflight.json.

::

    python -m tfdeblur.preflight --all --tpu v5e v6e --cache preflight
    python -m tests.helpers.published preflight/table.json

The first makes rows, or makes them again; the second puts them among the rows that are there, in
the place of older ones of the same runs, and writes both pages. `test_published` compares them.
"""

import dataclasses
import json
import pathlib
import sys

from tfdeblur.tpu.table import Row, markdown

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = "docs/preflight.json"
BEGIN, END = "<!-- preflight's table -->\n", "<!-- end of preflight's table -->\n"
# Of each page, what begins the names of columns that it leaves out.
PAGES: dict[str, tuple[str, ...]] = {
    "docs/tpu.md": (),
    "README.md": ("samples", "v5e: ms", "v6e: ms"),
}


def load(path: pathlib.Path) -> list[Row]:
    """Reads rows of a file that the preflight wrote."""
    return [Row.from_json(values) for values in json.loads(path.read_text("utf-8"))]


def merged(rows: list[Row], newer: list[Row]) -> list[Row]:
    """Puts newer rows in the place of older ones of the same runs.

    What was compiled to the end stays where the newer row is of memory alone, or of an error.
    """
    by_key = {row.key: row for row in rows}
    for row in newer:
        older = by_key.get(row.key)
        if older and not older.memory_only and (row.memory_only or row.error):
            print(f"kept {row.name} on {row.chip}: it was compiled to the end before")
            continue
        by_key[row.key] = row
    return [by_key[key] for key in sorted(by_key)]


def table(rows: list[Row], left_out: tuple[str, ...]) -> str:
    """Returns the preflight's own table without some of its columns."""
    lines = [line for line in markdown(rows).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    kept = [number for number, name in enumerate(cells[0]) if not name.startswith(left_out)]
    return "".join(f"| {' | '.join(line[number] for number in kept)} |\n" for line in cells)


def with_table(page: str, rows: list[Row], left_out: tuple[str, ...]) -> str:
    """Returns a page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(rows, left_out)}\n{END}{after}"


def main(paths: list[str]) -> None:
    """Adds the rows of files to those that are published, and writes both pages."""
    published = ROOT / ROWS
    rows = load(published) if published.exists() else []
    for path in paths:
        rows = merged(rows, load(pathlib.Path(path)))
    text = ",\n".join(json.dumps(dataclasses.asdict(row), sort_keys=True) for row in rows)
    published.write_text(f"[\n{text}\n]\n", "utf-8")
    for name, left_out in PAGES.items():
        page = ROOT / name
        page.write_text(with_table(page.read_text("utf-8"), rows, left_out), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
