"""Tables as aligned text, Markdown, LaTeX and CSV."""

import csv
import dataclasses
import io
import math
import re
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
    """Returns lines as CSV with a header of all keys; the cells of missing keys are empty."""
    text = io.StringIO()
    if lines:
        names = dict.fromkeys(name for line in lines for name in line)
        writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values that JSON can hold: None for floats that are not finite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table with the forms that papers and pages need.

    Attributes:
        header: Names of the columns; the first one names the rows.
        rows: Texts of the cells by row, the name of the row first.
        best: Cells (row, column) that are emphasized.
        caption: One line above the table.
        notes: Sentences below it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    caption: str = ""
    notes: Sequence[str] = ()

    def transposed(self) -> "Grid":
        """Returns the table with rows and columns exchanged."""
        cells = [list(column) for column in zip(self.header, *self.rows, strict=True)]
        # Row r of the body is column r + 1 of the result, whose body starts a row later.
        best = frozenset((column - 1, row + 1) for row, column in self.best)
        return dataclasses.replace(self, header=cells[0], rows=cells[1:], best=best)

    def to_text(self) -> str:
        """Returns aligned text for a terminal; stars mark the emphasized cells."""
        table = aligned_table(self.header, self._marked("*{}"), self.notes)
        return f"{self.caption}\n\n{table}\n" if self.caption else f"{table}\n"

    def to_markdown(self) -> str:
        """Returns a table of GitHub Flavored Markdown, followed by its notes as a list."""

        def line(cells: Sequence[str]) -> str:
            texts = (cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
            return "| " + " | ".join(texts) + " |"

        rule = line(["---", *["---:"] * (len(self.header) - 1)])
        lines = [line(self.header), rule, *map(line, self._marked("**{}**"))]
        caption = [f"{self.caption}\n"] if self.caption else []
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*caption, *lines, *notes]) + "\n"

    def to_latex(self) -> str:
        """Returns a `tabular` that needs the package booktabs; notes are comments."""

        def line(cells: Sequence[str]) -> str:
            return " & ".join(cells) + r" \\"

        escaped = dataclasses.replace(
            self,
            header=[_latex(cell) for cell in self.header],
            rows=[[_latex(cell) for cell in row] for row in self.rows],
        )
        return "\n".join(
            [
                *(f"% {text}" for text in (self.caption, *self.notes) if text),
                rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
                r"\toprule",
                line(escaped.header),
                r"\midrule",
                *map(line, escaped._marked(r"\textbf{{{}}}")),
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    def _marked(self, mark: str) -> list[list[str]]:
        return [
            [
                mark.format(cell) if (row, column) in self.best else cell
                for column, cell in enumerate(cells)
            ]
            for row, cells in enumerate(self.rows)
        ]


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex(text: str) -> str:
    """Returns a text for LaTeX; a unit such as e-3 becomes a power of ten."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<= )e-(\d+)\b", r"$\\times 10^{-\1}$", escaped)
