"""The score card's averages, texts and files."""

import csv
import io
import json
import math

import numpy as np
import pytest

from tfdeblur.evaluation import METRICS, ScoreCard
from tfdeblur.io import files


def make_card(gain_db: float = 2.0, differs=(True, True, False)) -> ScoreCard:
    differs = np.array(differs)
    count = len(differs)
    mse = np.where(differs, np.linspace(1e-3, 3e-3, count), 0).astype(np.float32)
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(mse)
    rest = {m: np.full(count, 0.5, np.float32) for m in METRICS}
    blurred = {**rest, "mse": mse, "psnr_db": psnr}
    restored = {**blurred, "mse": mse * 10 ** (-gain_db / 10), "psnr_db": psnr + gain_db}
    return ScoreCard(
        {"blurred": blurred, "restored": restored},
        differs,
        ["a"] * count,
        [str(i) for i in range(count)],
        {"split": "test"},
    )


def test_the_mean_psnr_leaves_identical_images_out():
    row = make_card().rows["blurred"]
    assert row.psnr_db == pytest.approx(np.mean([30, -10 * math.log10(2e-3)]), rel=1e-5)
    assert row.psnr_of_mean_mse_db == pytest.approx(30, rel=1e-5)
    assert row.exact == 0


def test_averages_are_taken_in_double_precision():
    count = 400_000
    values = np.full(count, 0.1, np.float32)
    nothing = np.ones(count, bool)
    card = ScoreCard({"restored": {"mae": values}}, nothing, [""] * count, [""] * count)
    assert card.restored.mae == pytest.approx(np.float32(0.1), rel=1e-9)


def test_the_table_is_aligned_and_carries_papers_units():
    lines = make_card().table().splitlines()
    header, blurred, restored = lines[0], lines[2], lines[3]
    assert len(header) == len(blurred) == len(restored) == len(lines[1])
    assert "MSE e-3" in header and "1.000" in blurred  # the mean of 1e-3, 2e-3 and 0
    assert any("2 images whose input is not the truth" in line for line in lines)


def test_where_restoring_made_it_worse_is_said():
    card = make_card(gain_db=-1.0)
    assert card.losses() == ["PSNR", "PSNR of the mean MSE", "MSE"]
    assert "Worse than the blurred input itself in PSNR" in card.table()
    assert "Worse" not in make_card().table()


def test_undefined_values_are_none_in_json_and_a_dash_in_the_table():
    card = make_card(differs=(False, False))
    plain = card.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["rows"]["restored"]["psnr_db"] is None
    assert plain["differing"] == 0
    assert " - " in card.table()


def test_every_number_has_a_protocol():
    plain = make_card().to_dict()
    assert set(plain["protocols"]) == set(plain["rows"]["restored"]) - {"exact"}
    assert all(len(text) > 20 for text in plain["protocols"].values())


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_json_and_csv_are_written(tmp_path, scheme):
    folder = f"{scheme}{tmp_path}/evaluation"
    card = make_card()
    card.write(folder)
    assert files.read_json(f"{folder}/scores.json") == card.to_dict()
    table = list(csv.DictReader(io.StringIO(files.read_text(f"{folder}/scores.csv"))))
    assert [line["row"] for line in table] == ["blurred", "restored"]
    assert float(table[1]["psnr_db"]) == card.restored.psnr_db
    images = list(csv.DictReader(io.StringIO(files.read_text(f"{folder}/images.csv"))))
    assert [line["frame"] for line in images] == ["0", "1", "2"]
    assert [line["differs"] for line in images] == ["1", "1", "0"]
    assert float(images[1]["restored_psnr_db"]) == pytest.approx(
        card.per_image["restored"]["psnr_db"][1]
    )
    assert float(images[2]["blurred_psnr_db"]) == math.inf
