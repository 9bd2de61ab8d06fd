"""The score card: what was measured over a whole split, for each image and on the average."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.basic import PROTOCOLS

METRICS = ("psnr_db", "ssim", "mse", "mae", "log_cosh")
"""What is measured on each image."""

CEILING_DB = 100.0
"""What an image counts whose PSNR is higher: it equals the truth but for rounding, or exactly."""

SCORES_JSON = "scores.json"
SCORES_CSV = "scores.csv"
IMAGES_CSV = "images.csv"

COLUMNS: dict[str, tuple[str, float, int]] = {
    "psnr_db": ("PSNR dB", 1.0, 2),
    "psnr_of_mean_mse_db": ("PSNR of mean MSE dB", 1.0, 2),
    "ssim": ("SSIM", 1.0, 4),
    "mse": ("MSE e-3", 1e3, 3),
    "mae": ("MAE e-2", 1e2, 3),
    "log_cosh": ("LogCosh e-4", 1e4, 2),
}
"""Name in the table, factor and decimals: the units in which papers print these numbers."""

HIGHER_IS_BETTER = ("psnr_db", "psnr_of_mean_mse_db", "ssim")
_PLAIN_NAMES = {
    "psnr_db": "PSNR",
    "psnr_of_mean_mse_db": "PSNR of the mean MSE",
    "ssim": "SSIM",
    "mse": "MSE",
    "mae": "MAE",
    "log_cosh": "LogCosh",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Averages over a split; NaN where a metric was not measured or not defined.

    Attributes:
        psnr_db: Mean over the images whose input differs from the truth; an image above
            `CEILING_DB` counts as that.
        psnr_of_mean_mse_db: PSNR of the mean over all images of their MSE.
        ssim: Mean over all images.
        mse: Mean over all images, on [0, 1].
        mae: Mean over all images, on [0, 1].
        log_cosh: Mean over all images, on [0, 1].
        exact: How many of the images whose input differs equal the truth to `CEILING_DB`.
    """

    psnr_db: float
    psnr_of_mean_mse_db: float
    ssim: float
    mse: float
    mae: float
    log_cosh: float
    exact: int


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreCard:
    """Everything that was measured over one split.

    Attributes:
        per_image: For `blurred` (the input itself, the baseline) and `restored`, each metric's
            values, float32 [images] in the order of the split.
        differs: bool [images]; whether the input differs from the truth at all.
        scenes: Scene of each image.
        frames: Frame of each image within its scene.
        about: Where the numbers come from, such as the split and the checkpoint; written along.
    """

    per_image: Mapping[str, Mapping[str, np.ndarray]]
    differs: np.ndarray
    scenes: Sequence[str]
    frames: Sequence[str]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images were judged."""
        return len(self.differs)

    @property
    def differing(self) -> int:
        """How many of them have an input that differs from the truth."""
        return int(np.count_nonzero(self.differs))

    @property
    def rows(self) -> dict[str, Row]:
        """The averages: `blurred`, unless it was left out, and `restored`."""
        return {name: self._row(values) for name, values in self.per_image.items()}

    @property
    def restored(self) -> Row:
        """The averages of the restored images."""
        return self._row(self.per_image["restored"])

    def gains_db(self) -> np.ndarray:
        """Returns how many dB each image gained; its PSNR where there is no baseline.

        NaN where the input already equals the truth: there was nothing to gain.
        """
        restored = np.minimum(self.per_image["restored"]["psnr_db"], CEILING_DB)
        if "blurred" in self.per_image:
            restored = restored - np.minimum(self.per_image["blurred"]["psnr_db"], CEILING_DB)
        return np.where(self.differs, restored, np.nan)

    def losses(self) -> list[str]:
        """Returns the metrics in which the restored images are worse than their input."""
        rows = self.rows
        if "blurred" not in rows:
            return []
        worse = []
        for name, plain in _PLAIN_NAMES.items():
            before, after = getattr(rows["blurred"], name), getattr(rows["restored"], name)
            if (after < before) if name in HIGHER_IS_BETTER else (after > before):
                worse.append(plain)
        return worse

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows of the table as texts."""
        header = ["", *(title for title, _, _ in COLUMNS.values())]
        body = [
            [name, *(cell_text(getattr(row, metric), metric) for metric in COLUMNS)]
            for name, row in self.rows.items()
        ]
        return header, body

    def notes(self) -> list[str]:
        """Returns what a reader must know to compare these numbers with others."""
        notes = [f"PSNR averages over the {self.differing:,} images whose input is not the truth."]
        exact = self.restored.exact
        if exact:
            notes.append(
                f"{exact:,} restored images equal the truth to rounding; each counts as "
                f"{CEILING_DB:.0f} dB in the mean."
            )
        worse = self.losses()
        if worse:
            notes.append(f"Worse than the blurred input itself in {', '.join(worse)}.")
        notes.append("Float32 on [0, 1], restored images clipped to it, whole images, RGB.")
        return notes

    def table(self) -> str:
        """Returns the card as aligned text for a terminal."""
        return aligned_table(*self.cells(), self.notes())

    def to_dict(self) -> dict[str, Any]:
        """Returns averages, counts and protocols as plain values; None stands for undefined."""
        rows = {
            name: {k: finite_or_none(v) for k, v in dataclasses.asdict(row).items()}
            for name, row in self.rows.items()
        }
        return {
            **self.about,
            "images": self.images,
            "differing": self.differing,
            "rows": rows,
            "worse_than_input": self.losses(),
            "ceiling_db": CEILING_DB,
            "protocols": {name: PROTOCOLS[name] for name in COLUMNS},
        }

    def write(self, directory: str) -> None:
        """Writes `scores.json`, `scores.csv` (the table) and `images.csv` (a line an image).

        Args:
            directory: Folder, made where it is missing; any scheme TensorFlow writes.

        Raises:
            UserError: It cannot be written.
        """
        out = OutputFolder(directory)
        out.write_json(SCORES_JSON, self.to_dict())
        rows = [
            {
                "row": name,
                "images": self.images,
                "differing": self.differing,
                **dataclasses.asdict(r),
            }
            for name, r in self.rows.items()
        ]
        out.write_text(SCORES_CSV, csv_text(rows))
        out.write_text(IMAGES_CSV, csv_text(self._image_lines()))

    def _image_lines(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "scene": self.scenes[index],
                "frame": self.frames[index],
                "differs": int(self.differs[index]),
                **{
                    f"{row}_{metric}": float(values[index])
                    for row, metrics in self.per_image.items()
                    for metric, values in metrics.items()
                },
            }
            for index in range(self.images)
        ]

    def _row(self, values: Mapping[str, np.ndarray]) -> Row:
        def mean(metric: str) -> float:
            # A float32 sum over 10,000 images is off in the fifth digit; a float64 one is not.
            found = values.get(metric, np.empty(0))
            return float(np.mean(found, dtype=np.float64)) if found.size else math.nan

        psnr = values["psnr_db"][self.differs] if "psnr_db" in values else np.empty(0)
        mse = mean("mse")
        return Row(
            psnr_db=(
                float(np.mean(np.minimum(psnr, CEILING_DB), dtype=np.float64))
                if psnr.size
                else math.nan
            ),
            psnr_of_mean_mse_db=-10 * math.log10(mse) if mse > 0 else math.inf if mse == 0 else mse,
            ssim=mean("ssim"),
            mse=mse,
            mae=mean("mae"),
            log_cosh=mean("log_cosh"),
            exact=int(np.count_nonzero(psnr > CEILING_DB)),
        )


def aligned_table(
    header: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str]
) -> str:
    """Returns a table as aligned text for a terminal, with its notes under it."""
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])

    rule = "-" * len(line(header))
    return "\n".join([line(header), rule, *map(line, body), rule, *notes])


def cell_text(value: float, metric: str) -> str:
    """Returns an average in the unit and with the decimals of its column."""
    _, factor, decimals = COLUMNS[metric]
    if math.isnan(value):
        return "-"
    return f"{value * factor:.{decimals}f}"


def finite_or_none(value: float) -> float | None:
    """Returns a number as JSON can hold it."""
    return value if math.isfinite(value) else None


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns lines of equal keys as CSV with a header."""
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()
