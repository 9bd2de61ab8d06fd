"""The full card's averages, worst images, texts and files."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from tfdeblur.errors import DataError
from tfdeblur.evaluation.card_page import choose, write_card_page
from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.evaluation.full_card import FullCard, Setting
from tfdeblur.io import files
from tfdeblur.metrics.protocols import MEASURES


def make_card(gains_db, scenes=None, about=None, seed=0) -> FullCard:
    """A card of whole images whose PSNRs gained so much."""
    rng = np.random.default_rng(seed)
    count = len(gains_db)
    before = {m: 0.5 + 0.1 * rng.random(count) for m in MEASURES}
    before |= {"psnr": 25 + rng.random(count), "psnr_y": 26 + rng.random(count)}
    after = {m: v + 0.01 for m, v in before.items()}
    after["psnr"] = before["psnr"] + np.array(gains_db, float)
    return FullCard(
        values={
            Setting("blurred", "uint8", "whole"): before,
            Setting("restored", "float", "whole"): after,
            Setting("restored", "uint8", "whole"): {m: v - 1e-4 for m, v in after.items()},
        },
        differs=np.ones(count, bool),
        lost_gradient=np.linspace(0.1, 0.9, count),
        scenes=scenes or [f"scene{i // 2}" for i in range(count)],
        frames=[f"{i:04d}" for i in range(count)],
        seconds={"restored": [0.2, 0.3, 0.25]},
        about={"split": "test", "batch_size": 1, "device": "2 CPU cores", **(about or {})},
    )


def test_gains_and_the_worst_ten():
    card = make_card([3.0, -1.0, 2.0, *[1.0] * 12, -2.0])
    assert card.worst()[:2] == [15, 1] and len(card.worst()) == 10
    gain = card.gains(card.primary)["psnr"]
    assert gain.mean == pytest.approx(14 / 16)
    assert gain.share_better == pytest.approx(14 / 16)
    assert gain.by_image[0] < gain.mean < gain.by_image[1]
    assert choose(card, 1) == {"best": [0], "median": [8], "worst": [15]}


def test_the_table_names_settings_gains_and_time():
    text = make_card([1.0, 2.0, 3.0]).table()
    for words in (
        "whole images",
        "restored, rounded uint8",
        "PSNR-Y dB",
        "Gain in PSNR dB: +2.00 (by image",
        "better in 100% of 3 images",
        "0.25 s an image (median of 3 batches of 1, the first left out), 2 CPU cores",
    ):
        assert words in text


def test_where_lower_is_better_a_rise_is_a_loss():
    card = make_card([1.0, 2.0, 3.0])  # every measure rises, by 0.01 but for PSNR
    gain = card.gains(card.primary)
    assert gain["lpips_alex"].mean == pytest.approx(-0.01) and gain["lpips_alex"].share_better == 0
    assert gain["ssim"].mean == pytest.approx(0.01) and gain["ssim"].share_better == 1
    text = card.table()
    assert "Gain in LPIPS (AlexNet, v0.1): -0.0100 (by image" in text
    assert "Lower is better: LPIPS (AlexNet, v0.1) and LPIPS (VGG16, v0.1)." in text
    without = {s: {"psnr": found["psnr"]} for s, found in card.values.items()}
    plain = dataclasses.replace(card, values=without)
    assert "Lower" not in plain.table()


def test_weights_that_nobody_published_are_told():
    unknown = {"backbone": "a.pth", "heads": "b.pth", "not recognized": "heads"}
    card = make_card([1.0, 2.0], about={"lpips_vgg_weights": unknown})
    (note,) = [note for note in card.notes() if "SHA-256" in note]
    assert note.startswith("LPIPS (VGG16, v0.1): not the published files, by their SHA-256: heads.")


def test_json_has_every_number_with_its_sentence_and_csv_every_image(tmp_path):
    card = make_card([1.0, 2.0, 3.0], about={"weights_sha256": "ab" * 32})
    card.write(str(tmp_path))
    stored = files.read_json(f"{tmp_path}/card.json")
    json.dumps(stored, allow_nan=False)
    assert stored["weights_sha256"] == "ab" * 32
    assert set(stored["protocols"]["measures"]) == set(MEASURES)
    restored = stored["settings"][1]
    assert (restored["state"], restored["values"], restored["region"]) == (
        "restored",
        "float",
        "whole",
    )
    assert restored["gains"]["psnr"]["mean"] == pytest.approx(2)
    assert set(restored["averages"]["ssim_y"]) >= {"mean", "median", "deviation", "least"}
    lines = list(csv.DictReader(io.StringIO(files.read_text(f"{tmp_path}/card.csv"))))
    assert [line["frame"] for line in lines] == ["0000", "0001", "0002"]
    assert float(lines[2]["restored/float/whole/psnr"]) == card.values[card.primary]["psnr"][2]


def test_damaged_cards_are_named(tmp_path):
    folder = str(tmp_path)
    make_card([1.0, 2.0]).write(folder)
    text = files.read_text(f"{folder}/card.csv")
    files.write_text(f"{folder}/card.csv", text.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(DataError, match="damaged score card"):
        FullCard.load(folder)
    files.write_json(f"{folder}/card.json", {"format": 99})
    with pytest.raises(DataError, match="this version"):
        FullCard.load(folder)


def test_the_page_is_one_file_with_everything_in_it(tmp_path):
    card = make_card([1.0, -2.0, 3.0])
    image = np.full((30, 40, 3), 90, np.uint8)
    triples = [
        Triple(i, image, image / np.float32(255), image, "scene <1>", f"{i}") for i in (2, 1)
    ]
    html = files.read_text(write_card_page(card, triples, str(tmp_path), title="A & B"))
    assert "A &amp; B" in html and "scene &lt;1&gt;" in html
    assert html.count('src="data:image/png;base64,') == 6
    assert "http://" not in html and "https://" not in html and 'src="card' not in html
    for key, measure in MEASURES.items():
        assert f'id="measure-{key}"' in html and f'href="#measure-{key}"' in html
        assert measure.sentence.split("'")[0] in html
    assert html.count("LPIPS (AlexNet, v0.1)&nbsp;↓</a>") == 4 and "SSIM 7x7&nbsp;↓" not in html
    assert "LPIPS, lower is better</text>" in html
    # Two of PSNR, one of SSIM, two of LPIPS, and gains against two things.
    assert html.count('class="chart"') == 7
    assert "+0.67" in html and "67%" in html
