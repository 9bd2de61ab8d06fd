"""Scores of photos that have no sharp image, before and after restoration."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from tfdeblur.errors import DataError, UserError
from tfdeblur.evaluation.picture_files import pictures_in
from tfdeblur.evaluation.tables import aligned_table, csv_text, plain
from tfdeblur.inference import photo_files
from tfdeblur.inference.restorer import Restorer, load_restorer
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.niqe import NIQE, Niqe
from tfdeblur.ops.arrays import to_uint8
from tfdeblur.porting import reading

JSON, CSV = "no-reference.json", "no-reference.csv"
NAMES = (JSON, CSV)

BEFORE, AFTER = "input", "restored"


@dataclasses.dataclass(frozen=True)
class NoReferenceTable:
    """Scores without reference images.

    Attributes:
        about: The network, the file of parameters and its digest, and the protocol.
        names: The photos.
        scores: NIQE by state (``input``, and ``restored`` if there is a network), float64 [photos];
            NaN for photos that are flat nearly everywhere.
        skipped: Messages about photos that were not scored, by path.
    """

    about: Mapping[str, Any]
    names: Sequence[str]
    scores: Mapping[str, np.ndarray]
    skipped: Mapping[str, str]

    def means(self) -> dict[str, float]:
        """Returns the mean score of each state, over photos that have a score in all of them."""
        whole = np.isfinite(np.stack(list(self.scores.values()))).all(axis=0)
        return {
            state: float(values[whole].mean()) if whole.any() else float("nan")
            for state, values in self.scores.items()
        }

    def text(self) -> str:
        """Returns the means, medians and shares as a table for a terminal."""
        rows = []
        for state, values in self.scores.items():
            finite = values[np.isfinite(values)]
            median = float(np.median(finite)) if len(finite) else float("nan")
            rows.append([state, NIQE.text(self.means()[state]), NIQE.text(median)])
        notes = [NIQE.protocol, f"{len(self.names):,} photos."]
        if AFTER in self.scores:
            better = np.mean(self.scores[AFTER] < self.scores[BEFORE])
            notes.append(
                f"{NIQE.title} is lower after restoration for {better:.0%} of them. It rewards "
                "sharpness, also where it is invented; look at the pictures."
            )
        return aligned_table(["", f"mean {NIQE.title}", "median"], rows, notes)

    def write(self, folder: str) -> str:
        """Writes the scores; returns the path of the CSV file of all photos."""
        out = OutputFolder(folder)
        lines = [
            {"photo": name, **{f"{s}_niqe": float(v[i]) for s, v in self.scores.items()}}
            for i, name in enumerate(self.names)
        ]
        out.write_text(CSV, csv_text(lines))
        tree = {
            **self.about,
            "photos": len(self.names),
            "mean_niqe": plain(self.means()),
            "skipped": dict(self.skipped),
        }
        # Last: a folder with it is complete.
        out.write_json(JSON, tree)
        return files.join(folder, CSV)


def evaluate(
    paths: Sequence[str],
    parameters: str,
    network: str = "",
    which: Literal["best", "last"] = "best",
) -> NoReferenceTable:
    """Scores photos, and what a network makes of them.

    Args:
        paths: Photos, and folders that are searched for them.
        parameters: File of NIQE's parameters, which `tfdeblur.porting.reading` reads.
        network: What `load_restorer` loads; empty to score the photos as they are.
        which: Which checkpoint of a work directory.

    Raises:
        UserError: There are no photos, or the network cannot be loaded.
        DataError: The file of parameters is damaged, or all photos were skipped.
    """
    given = reading.read(parameters)
    niqe = Niqe(parameters, given.arrays)
    found = [path for given_path in paths for path in _photos(given_path)]
    if not found:
        raise UserError(f"no_reference: no photos in {', '.join(paths)}.")
    restorer = load_restorer(network, which) if network else None
    names, skipped = [], {}
    scores: dict[str, list[float]] = {BEFORE: [], **({AFTER: []} if restorer else {})}
    for path in tqdm(found, desc="photos", unit="photo", disable=None):
        try:
            measured = _scores(path, niqe, restorer)
        except UserError as error:
            message = str(error)
            skipped[path] = message if path in message else f"{path} {message}"
            continue
        names.append(path)
        for state, value in measured.items():
            scores[state].append(value)
    if not names:
        raise DataError(f"None of the photos can be scored: {next(iter(skipped.values()))}")
    about = {
        "model": restorer.name if restorer else None,
        "from": network or None,
        "niqe_parameters": parameters,
        "niqe_sha256": niqe.sha256,
        "protocol": NIQE.protocol,
    }
    return NoReferenceTable(about, names, {s: np.array(v) for s, v in scores.items()}, skipped)


def _photos(path: str) -> list[str]:
    if not files.is_dir(path):
        return [path]
    return [
        files.join(path, name)
        for name in pictures_in(path)
        if not files.base_name(name).startswith(".")
    ]


def _scores(path: str, niqe: Niqe, restorer: Restorer | None) -> dict[str, float]:
    pixels = photo_files.read_photo(path).pixels
    found = {BEFORE: niqe(to_uint8(pixels))}
    if restorer is not None:
        found[AFTER] = niqe(to_uint8(restorer.deblur(pixels)))
    return found
