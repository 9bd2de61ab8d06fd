"""Tables as aligned text and as CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any


def aligned_table(
    header: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Returns a table as aligned text for a terminal, followed by its notes."""
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])

    rule = "-" * len(line(header))
    return "\n".join([line(header), rule, *map(line, body), rule, *notes])


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns lines with equal keys as CSV with a header."""
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values that JSON can hold: None for floats that are not finite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
