"""Object detection on blurred, restored and sharp images, with the sharp ones as reference.

This measures whether restoration recovers objects that blur hides. Detections in the sharp image
count as correct, whether they are or not, so the scores show how close the detector comes to its
own results without blur, not how good it is.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.detector import MIN_SCORE, NMS_IOU, Detections, iou
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.page import headers, summary_of
from tfdeblur.evaluation.pictures import JPEG_QUALITY, address
from tfdeblur.evaluation.results import Result
from tfdeblur.evaluation.scores import STATE_NAMES
from tfdeblur.evaluation.statistics import ratio_interval
from tfdeblur.evaluation.tables import aligned_table, csv_text, plain
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import CEILING_DB, METRICS
from tfdeblur.reports import pages

DETECTION_JSON = "detection.json"
DETECTION_CSV = "detection.csv"
PAGE = "detection.html"
STATES = ("blurred", "restored", "sharp")
MATCH_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Match:
    """Agreement of the detections in one picture with the reference.

    Attributes:
        right: Number of detections that match one of the reference.
        wrong: Number of detections that do not.
        missed: Number of unmatched detections of the reference.
        overlap: Sum of the intersections over unions of the matches.
        partners: For each detection, whether it matches.
    """

    right: int
    wrong: int
    missed: int
    overlap: float
    partners: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """Detections in one image of the split.

    Attributes:
        scene: Name of its scene.
        frame: Name of its frame.
        found: Detections by state.
        matches: Agreement with the sharp picture by state.
        psnr_db: PSNR of `blurred` and `restored` as files, rounded to 8 bits; infinite if equal.
    """

    scene: str
    frame: str
    found: Mapping[str, Detections]
    matches: Mapping[str, Match]
    psnr_db: Mapping[str, float] = dataclasses.field(default_factory=dict)


def match(found: Detections, reference: Detections) -> Match:
    """Matches detections with those of the reference.

    In order of decreasing score, each detection is matched with the unmatched box of the reference
    of its class that overlaps it most, if the overlap is at least `MATCH_IOU`.
    """
    overlaps = iou(found.boxes, reference.boxes)
    overlaps *= found.classes[:, None] == reference.classes[None, :]
    free = np.ones(len(reference), bool)
    total, partners = 0.0, []
    for row in overlaps:
        best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
        taken = best >= 0 and row[best] >= MATCH_IOU
        partners.append(bool(taken))
        if taken:
            free[best] = False
            total += float(row[best])
    right = sum(partners)
    return Match(right, len(found) - right, int(free.sum()), total, tuple(partners))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement over a split; undefined values are NaN.

    Attributes:
        found: Number of detections.
        right: Number of detections that match one of the reference.
        missed: Number of unmatched detections of the reference.
        precision: `right / found`.
        recall: `right / (right + missed)`.
        f1: Harmonic mean of the two: `2 right / (found + right + missed)`.
        mean_iou: Mean intersection over union of the matches.
        f1_interval: 95% bootstrap interval of `f1` over pictures; None below two pictures.
    """

    found: int
    right: int
    missed: int
    precision: float
    recall: float
    f1: float
    mean_iou: float
    f1_interval: tuple[float, float] | None

    @classmethod
    def of(cls, matches: Sequence[Match]) -> "Agreement":
        """Sums over pictures; every detection has the same weight."""
        right = sum(m.right for m in matches)
        found = right + sum(m.wrong for m in matches)
        missed = sum(m.missed for m in matches)
        tops = np.array([2.0 * m.right for m in matches])
        bottoms = np.array([2.0 * m.right + m.wrong + m.missed for m in matches])
        return cls(
            found,
            right,
            missed,
            _ratio(right, found),
            _ratio(right, right + missed),
            _ratio(2 * right, found + right + missed),
            _ratio(sum(m.overlap for m in matches), right),
            ratio_interval(tops, bottoms),
        )


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


@dataclasses.dataclass(frozen=True)
class DetectionCard:
    """Detections over one split.

    Attributes:
        pictures: The images in the order of the split.
        about: Origin of the scores.
    """

    pictures: Sequence[Picture]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def agreement(self, state: str) -> Agreement:
        """Returns the agreement of a state with the sharp pictures."""
        return Agreement.of([picture.matches[state] for picture in self.pictures])

    def psnr_db(self, state: str) -> float:
        """Returns the mean PSNR of a state in dB; NaN if it is undefined."""
        values = [
            min(picture.psnr_db.get(state, math.nan), CEILING_DB)
            for picture in self.pictures
            if math.isfinite(picture.psnr_db.get("blurred", math.nan))
        ]
        return float(np.mean(values)) if values else math.nan

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the header and the rows of the table as texts."""
        header = [
            "",
            "found",
            "right",
            "missed",
            "precision",
            "recall",
            "F1",
            "F1, 95%",
            "mean IoU",
            "PSNR dB",
        ]
        rows = []
        for state in STATES:
            a = self.agreement(state)
            interval = "-" if a.f1_interval is None else "{:.3f} to {:.3f}".format(*a.f1_interval)
            counts = [f"{a.found:,}", f"{a.right:,}", f"{a.missed:,}"]
            shares = [_share(a.precision), _share(a.recall), _share(a.f1)]
            psnr = METRICS["psnr_db"].text(self.psnr_db(state))
            rows.append([state, *counts, *shares, interval, _share(a.mean_iou), psnr])
        return header, rows

    def notes(self) -> list[str]:
        """Returns the notes printed below the table."""
        min_score = self.about.get("min_score", MIN_SCORE)
        nms = self.about.get("nms_iou", NMS_IOU)
        return [
            f"{len(self.pictures):,} pictures. Detections in the sharp picture are the reference, "
            "correct or not; the row of the sharp pictures only shows their number.",
            f"Detections with a score of at least {min_score} (objectness times class score); of "
            f"two of one class whose IoU exceeds {nms}, the one with the higher score is kept.",
            f"Matches are of one class and have an IoU of at least {MATCH_IOU}; higher scores are "
            "matched first. Restored pictures are rounded to uint8, as in files.",
            "Intervals: 95% bootstrap over pictures.",
            "PSNR of the pictures as files, averaged over those whose input differs from the "
            "target, and at most 100 dB each.",
        ]

    def table(self) -> str:
        """Returns the table as aligned text for a terminal."""
        return aligned_table(*self.cells(), self.notes())

    def write(self, directory: str, name_of: Callable[[int], str]) -> None:
        """Writes `detection.json`, and `detection.csv` with one line per detection.

        Raises:
            UserError: A file cannot be written.
        """
        out = OutputFolder(directory)
        lines = [
            {
                "scene": picture.scene,
                "frame": picture.frame,
                "state": state,
                "class": name_of(int(found.classes[i])),
                "score": float(found.scores[i]),
                **dict(zip(("left", "top", "right", "bottom"), map(float, box), strict=True)),
                "has_partner": int(picture.matches[state].partners[i]),
            }
            for picture in self.pictures
            for state, found in picture.found.items()
            for i, box in enumerate(found.boxes)
        ]
        out.write_text(DETECTION_CSV, csv_text(lines))
        rows = {state: plain(dataclasses.asdict(self.agreement(state))) for state in STATES}
        out.write_json(
            DETECTION_JSON,
            {**self.about, "images": len(self.pictures), "rows": rows, "protocol": self.notes()},
        )


def detect(triplet: Triplet, detector: Callable[[np.ndarray], Detections]) -> Picture:
    """Runs a detector on the input, the restored image and the target."""
    found = {state: detector(getattr(triplet, state)) for state in STATES}
    matches = {state: match(found[state], found["sharp"]) for state in STATES}
    scores = {state: psnr_of_files(getattr(triplet, state), triplet.sharp) for state in STATES[:-1]}
    return Picture(triplet.scene, triplet.frame, found, matches, scores)


def write_page(
    card: DetectionCard,
    shown: Sequence[tuple[Triplet, Picture]],
    directory: str,
    name_of: Callable[[int], str],
    *,
    title: str,
    subtitle: str = "",
    scores: Result | None = None,
) -> str:
    """Writes `detection.html`: the tables and pictures with boxes in one file; returns its path.

    Args:
        card: All detections.
        shown: The images to show, with their detections.
        directory: Folder of the evaluation.
        name_of: Returns the name of a class.
        title: Heading of the page.
        subtitle: Line below the heading.
        scores: Scores of the same network on the same images, which stand beside the detections.

    Raises:
        UserError: The page cannot be written.
    """
    return pages.write(
        directory,
        PAGE,
        title,
        subtitle=subtitle,
        summary=summary_of(card.about),
        tables=[
            pages.Table(*card.cells(), "Detections"),
            *([] if scores is None else [score_table(scores)]),
        ],
        notes=[
            *card.notes(),
            f"Large pictures are JPEG of quality {JPEG_QUALITY} in this page.",
            "Solid boxes match a box in the sharp image, dashed boxes do not.",
        ],
        pictures=[
            (
                f"{triplet.scene} / {triplet.frame}",
                dict(_boxed(state, triplet, picture, name_of) for state in STATES),
            )
            for triplet, picture in shown
        ],
    )


def _boxed(
    state: str, triplet: Triplet, picture: Picture, name_of: Callable[[int], str]
) -> tuple[str, pages.BoxedImage]:
    """Returns the label and the picture of a state with its detections."""
    found, match_ = picture.found[state], picture.matches[state]
    boxes = [
        pages.Box(
            left=float(box[0]),
            top=float(box[1]),
            width=float(box[2] - box[0]),
            height=float(box[3] - box[1]),
            label=f"{name_of(int(found.classes[i]))} {found.scores[i]:.2f}",
            correct=match_.partners[i],
        )
        for i, box in enumerate(found.boxes)
    ]
    counts = "" if state == "sharp" else f", {match_.right} right, {match_.missed} missed"
    psnr = picture.psnr_db.get(state, math.inf)
    counts += f"; {psnr:.2f} dB" if math.isfinite(psnr) else ""
    image = getattr(triplet, state)
    height, width = image.shape[:2]
    boxed = pages.BoxedImage(address(image), width, height, boxes)
    return f"{state}: {len(found)} found{counts}", boxed


def psnr_of_files(image: np.ndarray, sharp: np.ndarray) -> float:
    """Returns the PSNR in dB of two uint8 pictures of one shape; infinite if they are equal."""
    error = float(np.mean((image.astype(np.float64) - sharp) ** 2)) / 255**2
    return math.inf if error == 0 else -10 * math.log10(error)


def score_table(scores: Result) -> pages.Table:
    """Returns the means of an evaluation by state."""
    keys = [key for key in METRICS if any(key in row for row in scores.rows.values())]
    rows = [
        [STATE_NAMES[state], *(METRICS[key].text(row.get(key, math.nan)) for key in keys)]
        for state, row in scores.rows.items()
    ]
    return pages.Table(headers(keys), rows, f"Scores of {files.base_name(scores.path)}")


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
