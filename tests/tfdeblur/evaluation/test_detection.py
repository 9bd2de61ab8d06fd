"""Detections: decoding, overlap, matching and agreement."""

import csv
import io
import math

import numpy as np
import pytest

from tfdeblur.evaluation.detection import Agreement, DetectionCard, detect, match, write_page
from tfdeblur.evaluation.detector import Detections, _cells, decode, iou
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.results import Result
from tfdeblur.io import files


def found(*boxes):
    """Detections of (left, top, right, bottom, score, class)."""
    table = np.array(boxes, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(int))


def test_iou_of_overlapping_disjoint_and_empty_boxes():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], np.float32)
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(boxes, boxes), expected, rtol=1e-6)
    assert iou(boxes, np.empty((0, 4), np.float32)).shape == (4, 0)


def test_decoding_keeps_the_best_of_overlapping_boxes_of_a_class():
    cells = _cells(64)
    assert cells.shape == (8 * 8 + 4 * 4 + 2 * 2, 3)
    raw = np.zeros((len(cells), 5 + 3), np.float32)
    # Row 2, column 3 of the stride 8: a box of 16x8 around (3.5, 2.25) cells.
    place = 2 * 8 + 3
    raw[place] = [0.5, 0.25, math.log(2), 0, 0.9, 0, 1.0, 0.1]
    raw[place + 1] = [-0.45, 0.25, math.log(2), 0, 0.8, 0, 1.0, 0]  # nearly the same box
    raw[place + 2] = [-1.4, 0.25, math.log(2), 0, 0.7, 1.0, 0, 0]  # of another class
    raw[64] = [0, 0, 0, 0, 0.5, 0.5, 0, 0]  # below the minimum score
    result = decode(raw, cells, 0.3, 0.45)
    assert list(result.classes) == [1, 0]
    np.testing.assert_allclose(result.scores, [0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(result.boxes[0], [20, 14, 36, 22], rtol=1e-6)


def test_matches_share_a_class_overlap_and_are_unique():
    sharp = found((0, 0, 10, 10, 0.9, 2), (20, 0, 30, 10, 0.8, 2), (50, 50, 60, 60, 0.7, 1))
    blurred = found(
        (1, 0, 11, 10, 0.9, 2),  # the first
        (0, 1, 10, 11, 0.8, 2),  # the first too, which is taken
        (20, 0, 30, 5.1, 0.7, 2),  # the second, with 0.51
        (50, 50, 60, 60, 0.6, 2),  # the third's place, but another class
    )
    m = match(blurred, sharp)
    assert m.partners == (True, False, True, False)
    assert (m.right, m.wrong, m.missed) == (2, 2, 1)
    assert m.overlap == pytest.approx(9 / 11 + 0.51)
    nothing = match(found(), sharp)
    assert (nothing.right, nothing.wrong, nothing.missed, nothing.partners) == (0, 0, 3, ())
    assert match(sharp, found()).wrong == 3


def test_agreement_sums_over_pictures():
    sharp = found((0, 0, 10, 10, 0.9, 2), (20, 0, 30, 10, 0.8, 2))
    matches = [match(sharp, sharp), match(found((0, 0, 10, 10, 0.5, 2)), sharp)]
    a = Agreement.of(matches)
    assert (a.found, a.right, a.missed) == (3, 3, 1)
    assert (a.precision, a.recall, a.mean_iou) == (1.0, 0.75, 1.0)
    assert a.f1 == pytest.approx(2 * 0.75 / 1.75)
    assert a.f1_interval[0] <= a.f1 <= a.f1_interval[1]
    empty = Agreement.of([match(found(), found())])
    assert math.isnan(empty.precision) and math.isnan(empty.f1) and empty.f1_interval is None


@pytest.fixture
def card():
    shade = np.arange(0, 240, 60, dtype=np.uint8)[:, None, None]
    sharp = np.broadcast_to(shade, (4, 6, 3)).copy()
    triplet = Triplet(0, sharp // 2, sharp, sharp, "scene", "<1>")

    def detector(image):
        assert image.dtype == np.uint8
        # The dark picture hides the second object.
        boxes = [(0, 0, 3, 3, 0.9, 2), (3, 0, 6, 4, 0.6, 7)]
        return found(*boxes[: 1 + (image.max() > 100)])

    return DetectionCard([detect(triplet, detector)], {"detector": "d.onnx"}), triplet


def test_card_writes_table_and_files(card, tmp_path):
    card, _ = card
    header, rows = card.cells()
    assert header[4:7] == ["precision", "recall", "F1"]
    assert [row[:7] for row in rows] == [
        ["blurred", "1", "1", "1", "1.000", "0.500", "0.667"],
        ["restored", "2", "2", "0", "1.000", "1.000", "1.000"],
        ["sharp", "2", "2", "0", "1.000", "1.000", "1.000"],
    ]
    card.write(str(tmp_path), lambda number: f"kind {number}")
    stored = files.read_json(f"{tmp_path}/detection.json")
    assert stored["rows"]["blurred"]["recall"] == 0.5 and stored["detector"] == "d.onnx"
    assert any("at least 0.5" in note for note in stored["protocol"])
    lines = list(csv.DictReader(io.StringIO(files.read_text(f"{tmp_path}/detection.csv"))))
    assert [line["class"] for line in lines] == ["kind 2", *["kind 2", "kind 7"] * 2]


def test_page_shows_boxes_with_labels(card, tmp_path):
    card, triplet = card
    shown = [(triplet, card.pictures[0])]
    page = write_page(card, shown, str(tmp_path), lambda n: f"kind {n}", title="Boxes")
    html = files.read_text(page)
    assert html.count("<rect") == 5 and html.count('href="data:image/png;base64,') == 3
    assert "kind 7 0.60" in html and "&lt;1&gt;" in html and "1 found, 1 right, 1 missed" in html


def test_scores_of_the_same_pictures_stand_beside_the_detections(card, tmp_path):
    detections, triplet = card
    header, rows = detections.cells()
    place = header.index("PSNR dB")
    for state, row in zip(("blurred", "restored"), rows[:2], strict=True):
        error = np.mean((getattr(triplet, state) / 255 - triplet.sharp / 255) ** 2)
        assert row[place] == (f"{-10 * math.log10(error):.2f}" if error else "100.00")
    assert rows[2][place] == "-"
    rows_of = {"blurred": {"psnr_db": 25.0}, "restored": {"psnr_db": 27.5}}
    scores = Result("out/scores.json", rows_of, {})
    shown = [(triplet, detections.pictures[0])]
    page = write_page(detections, shown, str(tmp_path), str, title="t", scores=scores)
    html = files.read_text(page)
    assert "Scores of scores.json" in html and "27.50" in html and " dB</figcaption>" in html
