"""The table of docs/tpu.md on what two cores feed, from docs/input.json and docs/preflight.json.

::

    python -m benchmarks.input_cost        # measures
    python -m tests.helpers.input_table    # writes the table

`test_input_table` checks that it matches.
"""

import json

from benchmarks.input_cost import OUT, Form
from tests.helpers import published
from tfdeblur.config import recipes

PAGE = "docs/tpu.md"
BEGIN, END = "<!-- what two cores feed -->\n", "<!-- end of what two cores feed -->\n"

# Of the host of Colab's v5e-1.
CORES = 2

# Slices of v5e chips, the first choice first.
_SLICES = ("v5e-1", "v5e-8")

_WAYS = ("PNG", "raw", "cut", "cached")

_COLUMNS = ("recipe", "samples", "batch", *_WAYS, "a chip takes", "feeds it")


def wanted(name, rows):
    """Returns the images/s that a v5e chip takes at most; None if the recipe was not compiled."""
    compiled = {row.slice: row for row in rows if row.name == name and row.engine == "jax"}
    for tpu in _SLICES:
        if (row := compiled.get(tpu)) and row.most_images:
            return row.most_images / row.devices
    return None


def feeding(rates, most):
    """Returns the first way to store the data that feeds a chip, or the fastest and its share."""
    for way, rate in rates.items():
        if rate >= most:
            return way
    fastest = max(rates, key=rates.get)
    return f"{fastest}: {rates[fastest] / most:.0%}"


def table(measured, rows):
    """Returns the table in Markdown: a line for each compiled recipe, and one for each other form.

    Args:
        measured: CPU microseconds per sample by form and way to store it.
        rows: The preflight's.
    """
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS)]
    others = {}
    for name in recipes.names():
        form = Form.of(name)
        if form is None:
            continue
        rates = {way: CORES * 1e6 / each for way, each in measured[form.key].items()}
        figures = [f"{rates[way]:,.0f}" if way in rates else "" for way in _WAYS]
        size = f"{form.crop}" if form.crop == form.tile else f"{form.crop} of {form.tile}"
        cells = [size, str(form.batch), *figures]
        if (most := wanted(name, rows)) is None:
            others.setdefault(form, (cells, []))[1].append(f"`{name}`")
        else:
            lines.append(_line([f"`{name}`", *cells, f"{most:,.0f}", feeding(rates, most)]))
    for cells, (first, *more) in others.values():
        names = f"{first} and {len(more)} more" if more else first
        lines.append(_line([names, *cells, "", ""]))
    return "\n".join(lines)


def _line(cells):
    return f"| {' | '.join(cells)} |".replace("  |", " |")


def with_table(page):
    """Returns a page with the table between its two markers; none before it is measured."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not OUT.exists():
        return f"{before}{BEGIN}{END}{after}"
    values = json.loads(OUT.read_text("utf-8"))
    text = table(values["microseconds"], published.load(published.ROOT / published.ROWS))
    made = f"Measured on one machine: {values['processor']}."
    return f"{before}{BEGIN}\n{text}\n\n{made}\n\n{END}{after}"


if __name__ == "__main__":
    path = published.ROOT / PAGE
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
