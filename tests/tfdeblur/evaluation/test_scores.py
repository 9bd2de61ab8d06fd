"""The score card: means, gains, texts and files."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.helpers.score_cards import BLURRED, RESTORED, full_card, quick_card
from tfdeblur.errors import DataError
from tfdeblur.evaluation.pictures import choose_by_gain
from tfdeblur.evaluation.scores import FULL_FILES, QUICK_FILES, ScoreCard
from tfdeblur.io import files
from tfdeblur.metrics import METRICS


def lines_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.read_text(path))))


def test_mean_psnr_omits_images_whose_input_equals_the_target():
    row = quick_card().rows["blurred"]
    assert row["psnr_db"] == pytest.approx(np.mean([30, -10 * math.log10(2e-3)]), rel=1e-5)
    assert row["psnr_of_mean_mse_db"] == pytest.approx(30, rel=1e-5)
    assert row["exact"] == 0


def test_means_are_computed_in_float64():
    count = 400_000
    values = np.full(count, 0.1, np.float32)
    card = ScoreCard(
        {RESTORED: {"mae": values}},
        np.ones(count, bool),
        np.zeros(count),
        [""] * count,
        [""] * count,
    )
    assert card.means(RESTORED)["mae"] == pytest.approx(np.float32(0.1), rel=1e-9)


def test_table_is_aligned_and_scaled():
    lines = quick_card().table().splitlines()
    header, blurred, restored = lines[0], lines[2], lines[3]
    assert len(header) == len(blurred) == len(restored) == len(lines[1])
    assert "MSE e-3" in header and "1.000" in blurred  # the mean of 1e-3, 2e-3 and 0
    assert blurred.startswith("blurred ") and restored.startswith("restored ")
    assert any("3 images; PSNR averages over the 2 " in line for line in lines)


def test_metrics_worse_than_the_input_are_listed():
    card = quick_card(gain_db=-1.0)
    assert card.worse_than_input() == ["PSNR", "PSNR of mean MSE", "MSE"]
    assert "PSNR, PSNR of mean MSE, MSE" in "".join(card.notes())
    assert quick_card().worse_than_input() == []


def test_undefined_values_are_none_in_json_and_a_dash_in_the_table():
    card = quick_card(differs=(False, False))
    plain = card.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["rows"]["restored"]["psnr_db"] is None
    assert plain["differing"] == 0
    assert " - " in card.table()


def test_every_score_has_a_protocol():
    plain = quick_card().to_dict()
    assert set(plain["protocols"]["measures"]) == set(plain["rows"]["restored"]) - {"exact"}


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_quick_files_keep_their_names_and_keys(tmp_path, scheme):
    folder = f"{scheme}{tmp_path}/evaluation"
    card = quick_card()
    card.write(folder, QUICK_FILES)
    # JSON has lists where the dictionary has tuples.
    plain = json.loads(json.dumps(card.to_dict()))
    assert files.read_json(f"{folder}/scores.json") == plain
    means = lines_of(f"{folder}/scores.csv")
    assert [line["row"] for line in means] == ["blurred", "restored"]
    assert float(means[1]["psnr_db"]) == card.rows["restored"]["psnr_db"]
    keys = ["psnr_db", "psnr_of_mean_mse_db", "ssim", "mse", "mae", "log_cosh", "exact"]
    assert [*means[0]] == ["row", "images", "differing", *keys]
    images = lines_of(f"{folder}/images.csv")
    assert [line["frame"] for line in images] == ["0", "1", "2"]
    assert [line["differs"] for line in images] == ["1", "1", "0"]
    found = float(images[1]["restored_psnr_db"])
    assert found == pytest.approx(card.values[RESTORED]["psnr_db"][1])
    assert float(images[2]["blurred_psnr_db"]) == math.inf


def test_gains_and_the_worst_images():
    card = full_card([3.0, -1.0, 2.0, *[1.0] * 12, -2.0])
    assert card.worst()[:2] == [15, 1] and len(card.worst()) == 10
    gain = card.gains(card.primary)["psnr_db"]
    assert gain.mean == pytest.approx(14 / 16)
    assert gain.share_better == pytest.approx(14 / 16)
    assert gain.by_image[0] < gain.mean < gain.by_image[1]
    assert choose_by_gain(card.gains_db(), 1) == {"best": [0], "median": [8], "worst": [15]}


def test_full_table_has_settings_gains_and_time():
    text = full_card([1.0, 2.0, 3.0]).table()
    for words in (
        "whole images",
        "restored, rounded uint8",
        "PSNR-Y dB",
        "Gain in PSNR dB: +2.00 (by image",
        "better in 100% of 3 images",
        "0.25 s per image (median of 3 batches of 1, without the first), 2 CPU cores",
    ):
        assert words in text


def test_increase_of_a_metric_that_should_be_low_is_a_loss():
    card = full_card([1.0, 2.0, 3.0])  # all metrics but PSNR increase by 0.01
    gain = card.gains(card.primary)
    assert gain["lpips_alex"].mean == pytest.approx(-0.01) and gain["lpips_alex"].share_better == 0
    assert gain["ssim"].mean == pytest.approx(0.01) and gain["ssim"].share_better == 1
    text = card.table()
    assert "Gain in LPIPS (AlexNet, v0.1): -0.0100 (by image" in text
    assert (
        "Lower is better: MSE, MAE, LogCosh, DISTS, LPIPS (AlexNet, v0.1), LPIPS (VGG16, v0.1)."
        in text
    )
    without = {s: {"psnr_db": found["psnr_db"]} for s, found in card.values.items()}
    assert "Lower" not in dataclasses.replace(card, values=without).table()


def test_unrecognized_weights_are_noted():
    unknown = {"backbone": "a.pth", "heads": "b.pth", "not recognized": "heads"}
    card = full_card([1.0, 2.0], about={"lpips_vgg_weights": unknown})
    (note,) = [note for note in card.notes() if "SHA-256" in note]
    assert note.startswith("LPIPS (VGG16, v0.1): ") and " heads." in note


def test_full_files_hold_every_score_with_its_protocol(tmp_path):
    card = full_card([1.0, 2.0, 3.0], about={"weights_sha256": "ab" * 32})
    card.write(str(tmp_path), FULL_FILES)
    stored = files.read_json(f"{tmp_path}/card.json")
    json.dumps(stored, allow_nan=False)
    assert stored["weights_sha256"] == "ab" * 32
    assert set(stored["protocols"]["measures"]) == set(METRICS)
    restored = stored["settings"][1]
    found = (restored["state"], restored["values"], restored["region"])
    assert found == ("restored", "float", "whole")
    assert restored["gains"]["psnr_db"]["mean"] == pytest.approx(2)
    assert set(restored["averages"]["ssim_y"]) >= {"mean", "median", "deviation", "least"}
    lines = lines_of(f"{tmp_path}/card.csv")
    assert [line["frame"] for line in lines] == ["0000", "0001", "0002"]
    wanted = card.values[card.primary]["psnr_db"][2]
    assert float(lines[2]["restored/float/whole/psnr_db"]) == wanted


def test_card_is_read_as_it_was_written(tmp_path):
    card = full_card([1.0, 2.0, 3.0])
    card.write(str(tmp_path), FULL_FILES)
    read = ScoreCard.load(str(tmp_path))
    assert read.to_dict() == card.to_dict()
    assert read.table() == card.table()
    for setting, found in card.values.items():
        for metric, values in found.items():
            np.testing.assert_array_equal(read.values[setting][metric], values)


def format_1(card: ScoreCard, folder: str) -> None:
    """Writes a card with the keys of format 1, whose `ssim` was that of `tf.image`."""
    old = {"psnr_db": "psnr", "ssim": "ssim_gaussian"}

    def values(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {old.get(m, m): v for m, v in found.items() if m not in ("mse", "mae", "log_cosh")}
        return {**kept, "ssim": found["ssim"] + 0.001}

    renamed = {setting: values(found) for setting, found in card.values.items()}
    lines: Sequence[dict[str, Any]] = [
        {
            "index": i,
            "scene": card.scenes[i],
            "frame": card.frames[i],
            "differs": int(card.differs[i]),
            "lost_gradient": float(card.lost_gradient[i]),
            **{
                f"{s.key}/{m}": float(v[i])
                for s, found in renamed.items()
                for m, v in found.items()
            },
        }
        for i in range(card.images)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    files.write_text(f"{folder}/card.csv", text.getvalue())
    settings = [
        {**dataclasses.asdict(setting), "averages": {key: {} for key in found}}
        for setting, found in renamed.items()
    ]
    stored = {"format": 1, **card.about, "images": card.images, "settings": settings, "seconds": {}}
    files.write_json(f"{folder}/card.json", stored)


def test_card_of_format_1_is_read_with_its_metrics_renamed(tmp_path):
    card = full_card([1.0, 2.0, 3.0])
    format_1(card, str(tmp_path))
    read = ScoreCard.load(str(tmp_path))
    assert set(read.metrics) == set(card.metrics) - {"mse", "mae", "log_cosh"}
    for metric in read.metrics:
        for setting in card.values:
            np.testing.assert_array_equal(
                read.values[setting][metric], card.values[setting][metric]
            )
    assert read.gains(read.primary)["psnr_db"].mean == pytest.approx(2)


def test_damaged_card_raises_data_error(tmp_path):
    folder = str(tmp_path)
    full_card([1.0, 2.0]).write(folder, FULL_FILES)
    text = files.read_text(f"{folder}/card.csv")
    files.write_text(f"{folder}/card.csv", text.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(DataError, match=folder):
        ScoreCard.load(folder)


def test_card_of_a_later_format_raises_data_error(tmp_path):
    files.write_json(f"{tmp_path}/card.json", {"format": 99})
    with pytest.raises(DataError, match=r"card\.json"):
        ScoreCard.load(str(tmp_path))


def test_blurred_is_its_own_baseline():
    assert RESTORED.baseline == BLURRED.baseline == BLURRED
