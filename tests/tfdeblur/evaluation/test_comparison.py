"""Runs side by side: which card is meant, that images are the same, and paired differences."""

import numpy as np
import pytest

from tests.tfdeblur.evaluation.test_full_card import make_card
from tfdeblur.errors import UserError
from tfdeblur.evaluation import comparison, pictures
from tfdeblur.evaluation.comparison import Comparison, find_card
from tfdeblur.evaluation.evaluator import Triple
from tfdeblur.io import files


def write(folder, gains_db, name, **about):
    card = make_card(gains_db, about={"from": f"runs/{name}", "data_fingerprint": "f", **about})
    card.write(folder)
    image = np.full((20, 30, 3), 80, np.uint8)
    kept = range(0, len(gains_db), 2)
    triples = [Triple(i, image, image / np.float32(255), image, "s", str(i)) for i in kept]
    pictures.write_triples(triples, folder)
    return folder


@pytest.fixture
def runs(tmp_path):
    gains = np.linspace(0.5, 1.5, 8)
    return [
        write(f"{tmp_path}/a", gains, "unet"),
        write(f"{tmp_path}/b", gains + 0.25, "mimo"),
        write(f"{tmp_path}/c", gains - np.linspace(-0.1, 0.3, 8), "unet"),
    ]


def test_paired_differences_are_exact_where_every_image_moves_alike(runs):
    compared = Comparison.of(runs)
    assert compared.labels == ["unet (1)", "mimo", "unet (2)"]
    gain = compared.paired()["mimo"]["psnr"]
    # Its own interval is a decibel wide; the paired one has no width.
    assert gain.by_image == pytest.approx((0.25, 0.25)) and gain.share_better == 1
    worse = compared.paired()["unet (2)"]["psnr"]
    assert worse.mean == pytest.approx(-0.1) and 0 < worse.share_better < 1
    assert worse.by_image[0] < -0.1 < worse.by_image[1]
    text = compared.table()
    assert "mimo against unet (1), PSNR dB: +0.25 (by image +0.25 to +0.25" in text
    rows = compared.rows("whole", "float")
    assert [row[0] for row in rows] == ["blurred", "unet (1)", "mimo", "unet (2)"]
    assert float(rows[2][1]) - float(rows[1][1]) == pytest.approx(0.25, abs=0.011)


def test_the_page_shows_the_pictures_that_all_have(runs, tmp_path):
    files.remove(f"{runs[1]}/{pictures.FOLDER}/000002-restored.png")
    page = comparison.write(Comparison.of(runs), f"{tmp_path}/out")
    html = files.read_text(page)
    # Images 0, 4 and 6, each blurred, of three runs, and true.
    assert html.count("data:image/png;base64,") == 3 * 5
    assert "How much better mimo is than unet (1)" in html and 'class="states"' in html
    stored = files.read_json(f"{tmp_path}/out/comparison.json")
    assert stored["against"] == "unet (1)"
    assert stored["differences"]["mimo"]["psnr"]["mean"] == pytest.approx(0.25)


def test_less_lpips_is_more(runs):
    compared = Comparison.of(runs[:2])
    first, second = compared.cards
    second.values[second.primary]["lpips_alex"] = first.column(first.primary, "lpips_alex") - 0.02
    gain = compared.paired()["mimo"]["lpips_alex"]
    assert gain.mean == pytest.approx(0.02) and gain.share_better == 1
    text = compared.table()
    assert "mimo against unet, LPIPS (AlexNet, v0.1): +0.0200 (by image +0.0200 to" in text
    assert "Lower is better: LPIPS (AlexNet, v0.1) and" in text


def test_lpips_of_other_weights_is_not_compared(tmp_path):
    gains = [1.0, 2.0, 3.0]
    digests = [{"lpips_alex_sha256": "a", "lpips_vgg_sha256": part} for part in "bc"]
    pair = [write(f"{tmp_path}/{i}", gains, "unet", **d) for i, d in enumerate(digests)]
    compared = Comparison.of(pair)
    assert "lpips_alex" in compared.measures and "lpips_vgg" not in compared.measures
    assert "LPIPS (VGG16, v0.1) is left out" in compared.table()
    html = files.read_text(comparison.write(compared, f"{tmp_path}/out"))
    assert "LPIPS (VGG16, v0.1) is left out" in html and 'id="measure-lpips_vgg"' not in html
    assert "lpips_vgg" not in files.read_json(f"{tmp_path}/out/comparison.json")["differences"]


def test_other_images_are_refused(runs, tmp_path):
    other = write(f"{tmp_path}/d", [1.0, 2.0], "unet")
    with pytest.raises(UserError, match="not of the same images"):
        Comparison.of([runs[0], other])
    other = write(f"{tmp_path}/e", np.linspace(0.5, 1.5, 8), "unet", data_fingerprint="g")
    with pytest.raises(UserError, match="not of the same images"):
        Comparison.of([runs[0], other])
    with pytest.raises(UserError, match="at least two"):
        Comparison.of(runs[:1])


def test_crops_of_other_sizes_are_not_compared(runs, tmp_path):
    compared = Comparison.of(runs[:2])
    assert compared.shared() == [("whole", "float"), ("whole", "uint8")]


def test_the_card_of_a_run_is_found(tmp_path):
    run = str(tmp_path / "run")
    with pytest.raises(UserError, match="holds no full score card"):
        find_card(run)
    first = write(f"{run}/evaluation/gopro-test", [1.0, 2.0], "run")
    files.make_dirs(f"{run}/evaluation/quick-test")
    assert find_card(run) == find_card(f"{run}/") == find_card(first) == first
    assert find_card(f"{first}/card.json") == first
    second = write(f"{run}/evaluation/reds-val", [1.0, 2.0], "run")
    with pytest.raises(UserError, match="gopro-test, reds-val"):
        find_card(run)
    assert find_card(run, "reds-val") == second
    with pytest.raises(UserError, match=r"of hide-test\..*gopro-test, reds-val"):
        find_card(run, "hide-test")
