"""The preflight's table as docs/tpu.md shows it, from the rows in docs/preflight.json.

::

    python -m tfdeblur.preflight --all --tpu v5e v6e --cache preflight
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
ROWS = "docs/preflight.json"
BEGIN, END = "<!-- preflight's table -->\n", "<!-- end of preflight's table -->\n"
# Recipes that have not been compiled since they were written or changed.
PENDING = frozenset(
    {
        "deblurgan_equal_updates",
        "deblurgan_mse",
        "deblurgan_pro_mimo_fft",
        "deblurgan_pro_mimo_gan",
        "deblurgan_pro_mimo_ragan_ls",
        "deblurgan_pro_mimo_wgan_gp",
        "deblurgan_pro_srresnet_gan",
        "deblurgan_pro_srresnet_ragan_ls",
        "deblurgan_pro_srresnet_wgan_gp",
        "deblurgan_study_clip",
        "deblurgan_study_clip_synthetic",
        "deblurgan_study_gp",
        "deblurgan_study_gp_synthetic",
        "deepdeblur_gopro",
        "fftformer_gopro",
        "improved_deblurgan_baseline",
        "mimo_unet_ablation",
        "restormer_gopro",
    }
)
# For each page, prefixes of the columns that it omits.
PAGES: dict[str, tuple[str, ...]] = {"docs/tpu.md": ()}


def load(path: pathlib.Path) -> list[Row]:
    """Returns the rows in a file written by the preflight."""
    return [Row.from_json(values) for values in json.loads(path.read_text("utf-8"))]


def merge(rows: list[Row], newer: list[Row]) -> list[Row]:
    """Replaces rows by newer ones of the same runs, sorted by key.

    A row that was compiled completely is kept if the newer one was only laid out or has an error.
    """
    by_key = {row.key: row for row in rows}
    for row in newer:
        older = by_key.get(row.key)
        if older and not older.memory_only and (row.memory_only or row.error):
            print(f"kept {row.name} on {row.chip}, which was compiled completely")
            continue
        by_key[row.key] = row
    return [by_key[key] for key in sorted(by_key)]


def table(rows: list[Row], omitted: tuple[str, ...]) -> str:
    """Returns the preflight's table without the columns whose headings start with `omitted`."""
    lines = [line for line in markdown(rows).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    kept = [index for index, name in enumerate(cells[0]) if not name.startswith(omitted)]
    return "".join(f"| {' | '.join(line[index] for index in kept)} |\n" for line in cells)


def with_table(page: str, rows: list[Row], omitted: tuple[str, ...]) -> str:
    """Returns a page with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(rows, omitted)}\n{END}{after}"


def main(paths: list[str]) -> None:
    """Merges the rows of files into the published ones, and updates the page."""
    published = ROOT / ROWS
    rows = load(published) if published.exists() else []
    for path in paths:
        rows = merge(rows, load(pathlib.Path(path)))
    text = ",\n".join(json.dumps(dataclasses.asdict(row), sort_keys=True) for row in rows)
    published.write_text(f"[\n{text}\n]\n", "utf-8")
    for name, omitted in PAGES.items():
        page = ROOT / name
        page.write_text(with_table(page.read_text("utf-8"), rows, omitted), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
