"""What a detector finds in blurred, restored and true pictures, those of the truth as reference.

This asks what a restoration is good for: whether objects that blur hides are found again. What is
found in the sharp picture is taken for right, whether it is or not, so the numbers say how near the
detector comes to what it would have done without blur, not how good it is.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfdeblur.evaluation.detector import MIN_SCORE, NMS_IOU, Detections, iou
from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.evaluation.pictures import JPEG_QUALITY, address, to_uint8
from tfdeblur.evaluation.report import summary_of
from tfdeblur.evaluation.scores import aligned_table, csv_text
from tfdeblur.evaluation.statistics import ratio_interval
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.reports import pages

DETECTION_JSON = "detection.json"
DETECTION_CSV = "detection.csv"
PAGE = "detection.html"
STATES = ("blurred", "restored", "sharp")
MATCH_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Match:
    """How the detections of one picture agree with the reference.

    Attributes:
        right: How many have a partner.
        wrong: How many have none.
        missed: How many of the reference's have none.
        overlap: Sum of the partners' intersections over unions.
        partners: For each detection whether it has one.
    """

    right: int
    wrong: int
    missed: int
    overlap: float
    partners: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of the split and what was found in its states.

    Attributes:
        scene: Name of its scene.
        frame: Name of its frame.
        found: Detections by state.
        matches: By state, against the sharp one.
    """

    scene: str
    frame: str
    found: Mapping[str, Detections]
    matches: Mapping[str, Match]


def match(found: Detections, reference: Detections, min_iou: float = MATCH_IOU) -> Match:
    """Pairs detections with those of the reference.

    The surest detection chooses first: of the reference's boxes of its class that are free and
    overlap it by at least `min_iou`, it takes the one that overlaps most.
    """
    overlaps = iou(found.boxes, reference.boxes)
    overlaps *= found.classes[:, None] == reference.classes[None, :]
    free = np.ones(len(reference), bool)
    total, partners = 0.0, []
    for row in overlaps:
        best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
        taken = best >= 0 and row[best] >= min_iou
        partners.append(bool(taken))
        if taken:
            free[best] = False
            total += float(row[best])
    right = sum(partners)
    return Match(right, len(found) - right, int(free.sum()), total, tuple(partners))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Over a split; NaN where it is not defined.

    Attributes:
        found: How many detections there are.
        right: How many have a partner in the reference.
        missed: How many of the reference's have none.
        precision: `right / found`.
        recall: `right / (right + missed)`.
        f1: Harmonic mean of the two: `2 right / (found + right + missed)`.
        mean_iou: Mean intersection over union of the partners.
        f1_interval: 95% bootstrap interval of `f1`, pictures drawn; None below two pictures.
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
        """Adds up the pictures: each detection counts the same, wherever it is."""
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
    """What the detector found over one split.

    Attributes:
        pictures: One for each image, in the split's order.
        about: Where the numbers come from.
    """

    pictures: Sequence[Picture]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def agreement(self, state: str) -> Agreement:
        """Returns how a state agrees with the sharp pictures."""
        return Agreement.of([picture.matches[state] for picture in self.pictures])

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
        ]
        rows = []
        for state in STATES:
            a = self.agreement(state)
            interval = "-" if a.f1_interval is None else "{:.3f} to {:.3f}".format(*a.f1_interval)
            counts = [f"{a.found:,}", f"{a.right:,}", f"{a.missed:,}"]
            shares = [_share(a.precision), _share(a.recall), _share(a.f1)]
            rows.append([state, *counts, *shares, interval, _share(a.mean_iou)])
        return header, rows

    def notes(self) -> list[str]:
        """Returns what a reader must know beside the numbers."""
        min_score = self.about.get("min_score", MIN_SCORE)
        nms = self.about.get("nms_iou", NMS_IOU)
        return [
            f"{len(self.pictures):,} pictures. What the detector finds in the sharp picture is "
            "the reference, right or wrong: its own row only shows how much there is to find.",
            f"Detections of a score of at least {min_score} (objectness times class score); of two "
            f"of one class that overlap by an IoU of more than {nms}, the surer one stays.",
            f"Partners are of one class and overlap by an IoU of at least {MATCH_IOU}; the surest "
            "detection chooses first. Restored pictures are rounded to uint8, as files are.",
            "Intervals: 95% bootstrap over pictures.",
        ]

    def table(self) -> str:
        """Returns the table as aligned text for a terminal."""
        return aligned_table(*self.cells(), self.notes())

    def write(self, directory: str, name_of: Callable[[int], str]) -> None:
        """Writes `detection.json` and `detection.csv`, a line for each detection.

        Raises:
            UserError: They cannot be written.
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
        rows = {}
        for state in STATES:
            row = dataclasses.asdict(self.agreement(state))
            rows[state] = {k: None if v != v else v for k, v in row.items()}  # NaN differs
        out.write_json(
            DETECTION_JSON,
            {**self.about, "images": len(self.pictures), "rows": rows, "protocol": self.notes()},
        )


def detect(triple: Triple, detector: Callable[[np.ndarray], Detections]) -> Picture:
    """Runs a detector on the three states of an image."""
    found = {state: detector(to_uint8(getattr(triple, state))) for state in STATES}
    matches = {state: match(found[state], found["sharp"]) for state in STATES}
    return Picture(triple.scene, triple.frame, found, matches)


def write_page(
    card: DetectionCard,
    shown: Sequence[tuple[Triple, Picture]],
    directory: str,
    name_of: Callable[[int], str],
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """Writes `detection.html`: the table and pictures with boxes in one file; returns its path.

    Raises:
        UserError: It cannot be written.
    """
    header, rows = card.cells()
    page = pages.render(
        "detection.html.j2",
        title=title,
        subtitle=subtitle,
        summary=summary_of(card.about),
        table=pages.Table(header, rows),
        notes=[*card.notes(), f"Large pictures are JPEG of quality {JPEG_QUALITY} in this page."],
        pictures=[_boxed(triple, picture, name_of) for triple, picture in shown],
    )
    OutputFolder(directory).write_text(PAGE, page)
    return files.join(directory, PAGE)


def _boxed(triple: Triple, picture: Picture, name_of: Callable[[int], str]) -> dict[str, Any]:
    height, width = triple.sharp.shape[:2]
    states = []
    for state in STATES:
        found, partners = picture.found[state], picture.matches[state].partners
        boxes = [
            {
                "left": float(box[0]),
                "top": float(box[1]),
                "width": float(box[2] - box[0]),
                "height": float(box[3] - box[1]),
                "label": f"{name_of(int(found.classes[i]))} {found.scores[i]:.2f}",
                "right": partners[i],
            }
            for i, box in enumerate(found.boxes)
        ]
        m = picture.matches[state]
        said = f"{len(found)} found" + (
            f", {m.right} right, {m.missed} missed" * (state != "sharp")
        )
        image = address(to_uint8(getattr(triple, state)))
        states.append({"name": state, "said": said, "image": image, "boxes": boxes})
    caption = f"{triple.scene} / {triple.frame}"
    return {"caption": caption, "width": width, "height": height, "states": states}


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
