"""The report: which pictures it shows, and that its files belong together."""

import io
import re
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from tests.helpers.score_cards import full_card
from tfdeblur.evaluation.evaluator import SplitEvaluator, Triplet
from tfdeblur.evaluation.page import write_page
from tfdeblur.evaluation.pictures import choose_by_gain, write_triplets
from tfdeblur.evaluation.scores import FULL_FILES, QUICK_FILES
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics import METRICS


def test_best_median_and_worst_are_selected_by_gain():
    gains = np.array([0.0, 9.0, np.nan, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -7.0])
    chosen = choose_by_gain(gains, each=2)
    assert chosen == {"best": [1, 8], "median": [6, 5], "worst": [0, 9]}


@pytest.mark.parametrize("count", range(8))
def test_no_image_of_a_small_split_is_selected_twice(count):
    gains = np.arange(float(count))
    places = [place for kind in choose_by_gain(gains, each=3).values() for place in kind]
    assert sorted(places) == sorted(set(places))
    assert len(places) == min(count, 9)
    assert not any(choose_by_gain(gains, each=0).values())


def test_quick_page_links_to_the_pictures_that_were_written(pairs, tmp_path):
    data = pairs()
    networks = {"restored": lambda images: images * 0.9}
    evaluator = SplitEvaluator(networks, data, batch_size=4)
    card = evaluator.run(about={"blur": {"kind": "gaussian", "sigma": [0, 3]}})
    chosen = choose_by_gain(card.gains_db(), 1)
    triplets = evaluator.pictures([index for kind in chosen.values() for index in kind])
    folder = str(tmp_path / "report")
    OutputFolder(folder).write_text("pictures/stale.png", "of an earlier report")
    write_triplets(triplets, folder, QUICK_FILES.pictures)
    page = write_page(card, triplets, folder, QUICK_FILES, title="A & B", subtitle="run")
    html = files.read_text(page)
    assert page == f"{folder}/index.html" and "A &amp; B" in html
    assert "kind gaussian, sigma 0 to 3" in html
    assert f"{card.rows['restored']['psnr_db']:.2f}" in html
    assert METRICS["ssim"].protocol in html and METRICS["psnr_of_mean_mse_db"].protocol in html
    links = {urllib.parse.unquote(link) for link in re.findall(r'src="([^"]+)"', html)}
    assert links == {f"pictures/{name}" for name in files.list_dir(f"{folder}/pictures")}
    assert len(links) == 9
    best = chosen["best"][0]
    name = next(link for link in links if f"{best:06d}" in link and "restored" in link)
    stored = np.asarray(Image.open(io.BytesIO(files.read_bytes(f"{folder}/{name}"))))
    np.testing.assert_allclose(stored, data.blurred[best] * 0.9, atol=0.51)


def test_full_page_is_a_single_file_with_everything(tmp_path):
    card = full_card([1.0, -2.0, 3.0])
    image = np.full((30, 40, 3), 90, np.uint8)
    triplets = [Triplet(i, image, image, image, "scene <1>", f"{i}") for i in (2, 1)]
    page = write_page(card, triplets, str(tmp_path), FULL_FILES, title="A & B")
    html = files.read_text(page)
    assert page == f"{tmp_path}/card.html"
    assert "A &amp; B" in html and "scene &lt;1&gt;" in html
    assert html.count('src="data:image/png;base64,') == 6
    assert "http://" not in html and "https://" not in html and 'src="card' not in html
    for key, metric in METRICS.items():
        assert f'id="measure-{key}"' in html and f'href="#measure-{key}"' in html
        assert metric.protocol.split("'")[0] in html
    assert html.count("LPIPS (AlexNet, v0.1)&nbsp;↓</a>") == 4 and "SSIM 7x7&nbsp;↓" not in html
    assert "LPIPS, lower is better" in html
    # PSNR, SSIM, two of LPIPS, DISTS, the gain, and the gain against two properties of the input.
    assert html.count('class="chart"') == 8
    assert "+0.67" in html and "67%" in html
