"""Scalars of a run by images seen, in ``WORKDIR/history.csv`` and in TensorBoard."""

import csv
import io
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from tfdeblur.io import files
from tfdeblur.reports import histories
from tfdeblur.reports.histories import HISTORY
from tfdeblur.training.events import EventWriter

TENSORBOARD = "tensorboard"


class History:
    """Scalars of a run by images seen: a CSV file and TensorBoard curves.

    Args:
        workdir: The folder to write to; an existing history in it is continued.
        images: Images seen. Later rows, which a run killed after its last checkpoint leaves, are
            dropped.

    Raises:
        UserError: The curves cannot be written.
    """

    def __init__(self, workdir: str, images: int) -> None:
        self._path = files.join(workdir, HISTORY)
        self._rows: dict[int, dict[str, float]] = {}
        if files.exists(self._path):
            for seen, values in _read_history(self._path).items():
                if seen <= images:
                    self._rows[seen] = values
        self._curves = EventWriter(files.join(workdir, TENSORBOARD))
        self._curves.restart(images)

    def add(self, images: int, values: Mapping[str, float]) -> None:
        """Adds scalars to the row of an image count."""
        self._rows.setdefault(images, {}).update(values)
        self._curves.add_scalars(images, values)

    def go_back(self, images: int) -> None:
        """Drops the rows after an image count, to which the run was rolled back."""
        self._rows = {seen: row for seen, row in self._rows.items() if seen <= images}
        self._curves.restart(images)

    def add_pictures(self, images: int, name: str, strips: np.ndarray) -> None:
        """Adds images to TensorBoard; uint8 [N, H, W, 3]."""
        self._curves.add_images(images, name, strips)
        self._curves.flush()

    def series(self, name: str) -> list[tuple[float, float]]:
        """Returns a scalar as points (images, value)."""
        return [
            (float(images), row[name]) for images, row in sorted(self._rows.items()) if name in row
        ]

    def has(self, images: int, name: str) -> bool:
        """Returns whether a scalar has a value at an image count."""
        return name in self._rows.get(images, {})

    def names(self) -> list[str]:
        """Returns the names of all scalars, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self._rows.values() for name in row))

    def write(self) -> None:
        """Writes the CSV file and flushes the curves."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["images", *self.names()], lineterminator="\n")
        writer.writeheader()
        for images, row in sorted(self._rows.items()):
            writer.writerow({"images": images, **{k: repr(float(v)) for k, v in row.items()}})
        files.write_text(self._path, text.getvalue())
        self._curves.flush()


def _read_history(path: str) -> dict[int, dict[str, float]]:
    """Reads a history; a damaged file is renamed, and its readable rows are kept."""
    rows, damaged = histories.parse(files.read_bytes(path))
    if damaged:
        aside = files.set_aside(path)
        tqdm.write(f"warning: {path} is damaged: renamed to {aside}; its intact rows are kept.")
    return rows
