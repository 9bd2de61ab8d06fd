"""Comparison of runs: finding cards, checking images, paired differences."""

import numpy as np
import pytest

from tests.helpers.score_cards import full_card
from tfdeblur.errors import UserError
from tfdeblur.evaluation import comparison, pictures
from tfdeblur.evaluation.comparison import Comparison, find_card
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.evaluation.scores import FULL_FILES
from tfdeblur.io import files


def write(folder, gains_db, name, **about):
    card = full_card(gains_db, about={"from": f"runs/{name}", "data_fingerprint": "f", **about})
    card.write(folder, FULL_FILES)
    image = np.full((20, 30, 3), 80, np.uint8)
    kept = range(0, len(gains_db), 2)
    triplets = [Triplet(i, image, image, image, "s", str(i)) for i in kept]
    pictures.write_triplets(triplets, folder, FULL_FILES.pictures)
    return folder


@pytest.fixture
def runs(tmp_path):
    gains = np.linspace(0.5, 1.5, 8)
    return [
        write(f"{tmp_path}/a", gains, "unet"),
        write(f"{tmp_path}/b", gains + 0.25, "mimo"),
        write(f"{tmp_path}/c", gains - np.linspace(-0.1, 0.3, 8), "unet"),
    ]


def test_paired_interval_has_no_width_if_every_image_gains_the_same(runs):
    compared = Comparison.of(runs)
    assert compared.labels == ["unet (1)", "mimo", "unet (2)"]
    gain = compared.paired()["mimo"]["psnr_db"]
    # The interval of its mean is a decibel wide.
    assert gain.by_image == pytest.approx((0.25, 0.25)) and gain.share_better == 1
    worse = compared.paired()["unet (2)"]["psnr_db"]
    assert worse.mean == pytest.approx(-0.1) and 0 < worse.share_better < 1
    assert worse.by_image[0] < -0.1 < worse.by_image[1]
    text = compared.table()
    assert "mimo against unet (1), PSNR dB: +0.25 (by image +0.25 to +0.25" in text
    rows = compared.rows("whole", "float")
    assert [row[0] for row in rows] == ["blurred", "unet (1)", "mimo", "unet (2)"]
    assert float(rows[2][1]) - float(rows[1][1]) == pytest.approx(0.25, abs=0.011)


def test_page_shows_the_pictures_that_all_runs_have(runs, tmp_path):
    files.remove(f"{runs[1]}/{FULL_FILES.pictures}/000002-restored.png")
    page = comparison.write(Comparison.of(runs), f"{tmp_path}/out")
    html = files.read_text(page)
    # Images 0, 4 and 6, each blurred, restored by three runs, and sharp.
    assert html.count("data:image/png;base64,") == 3 * 5
    assert "Gain of mimo over unet (1)" in html and 'class="states"' in html
    stored = files.read_json(f"{tmp_path}/out/comparison.json")
    assert stored["against"] == "unet (1)"
    assert stored["differences"]["mimo"]["psnr_db"]["mean"] == pytest.approx(0.25)


def test_lower_lpips_is_a_gain(runs):
    compared = Comparison.of(runs[:2])
    first, second = compared.cards
    second.values[second.primary]["lpips_alex"] = first.column(first.primary, "lpips_alex") - 0.02
    gain = compared.paired()["mimo"]["lpips_alex"]
    assert gain.mean == pytest.approx(0.02) and gain.share_better == 1
    text = compared.table()
    assert "mimo against unet, LPIPS (AlexNet, v0.1): +0.0200 (by image +0.0200 to" in text
    assert "LPIPS (AlexNet, v0.1)" in text


def test_lpips_with_different_weights_is_omitted(tmp_path):
    gains = [1.0, 2.0, 3.0]
    digests = [{"lpips_alex_sha256": "a", "lpips_vgg_sha256": part} for part in "bc"]
    pair = [write(f"{tmp_path}/{i}", gains, "unet", **d) for i, d in enumerate(digests)]
    compared = Comparison.of(pair)
    assert "lpips_alex" in compared.metrics and "lpips_vgg" not in compared.metrics
    assert "LPIPS (VGG16, v0.1) is omitted" in compared.table()
    html = files.read_text(comparison.write(compared, f"{tmp_path}/out"))
    assert "LPIPS (VGG16, v0.1) is omitted" in html and 'id="measure-lpips_vgg"' not in html
    assert "lpips_vgg" not in files.read_json(f"{tmp_path}/out/comparison.json")["differences"]


def test_runs_on_different_images_are_rejected(runs, tmp_path):
    other = write(f"{tmp_path}/d", [1.0, 2.0], "unet")
    with pytest.raises(UserError, match="same images"):
        Comparison.of([runs[0], other])
    other = write(f"{tmp_path}/e", np.linspace(0.5, 1.5, 8), "unet", data_fingerprint="g")
    with pytest.raises(UserError, match="same images"):
        Comparison.of([runs[0], other])
    with pytest.raises(UserError, match="at least two"):
        Comparison.of(runs[:1])


def test_only_shared_regions_and_values_are_compared(runs, tmp_path):
    compared = Comparison.of(runs[:2])
    assert compared.shared() == [("whole", "float"), ("whole", "uint8")]


def test_card_of_a_run_is_found_or_must_be_chosen(tmp_path):
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
