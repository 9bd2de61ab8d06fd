"""Reading of the scalars of a run, ``WORKDIR/history.csv``."""

import csv
import io

from tfdeblur.errors import DataError, UserError
from tfdeblur.io import files

HISTORY = "history.csv"

Rows = dict[int, dict[str, float]]
"""Scalars by name, by the count of images seen."""


def parse(data: bytes) -> tuple[Rows, bool]:
    """Returns the rows of a history that can be read, and whether any is damaged."""
    rows: Rows = {}
    text = data.decode("utf-8", errors="replace")
    damaged = "\0" in text
    reader = csv.DictReader(io.StringIO(text.replace("\0", "")))
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error:
            damaged = True
            continue
        try:
            values = {name: float(value) for name, value in row.items() if value}
            rows[int(values.pop("images"))] = values
        except (ValueError, TypeError, KeyError):
            damaged = True
    return rows, damaged


def read(workdir: str) -> Rows:
    """Reads the history of a run, which may still be training; changes nothing.

    Raises:
        UserError: The folder has none.
        DataError: No row can be read.
    """
    path = files.join(workdir, HISTORY)
    if not files.exists(path):
        raise UserError(
            f"{path} does not exist. Name a work directory of tfdeblur.train that has logged "
            "something."
        )
    rows, _ = parse(files.read_bytes(path))
    if not rows:
        raise DataError(f"{path} holds no row that can be read.")
    return dict(sorted(rows.items()))


def epoch_images(rows: Rows) -> float | None:
    """Returns the number of images in an epoch, which rows of the log show; None without one."""
    known = [(images, row["epoch"]) for images, row in rows.items() if row.get("epoch", 0) > 0]
    return known[-1][0] / known[-1][1] if known else None
