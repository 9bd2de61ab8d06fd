"""The report: which pictures it shows, and that its page and files belong together."""

import io
import re
import urllib.parse

import numpy as np
from PIL import Image

from tfdeblur.evaluation import ScoreCard, SplitEvaluator
from tfdeblur.evaluation.report import choose, write_report
from tfdeblur.io import files
from tfdeblur.io.outputs import OutputFolder
from tfdeblur.metrics.basic import PROTOCOLS


def card_of_gains(gains):
    gains = np.array(gains, np.float32)
    differs = ~np.isnan(gains)
    base = np.full(len(gains), 25, np.float32)
    per_image = {
        "blurred": {"psnr_db": base},
        "restored": {"psnr_db": np.where(differs, base + gains, np.inf)},
    }
    names = [str(i) for i in range(len(gains))]
    return ScoreCard(per_image, differs, names, names)


def test_best_median_and_worst_are_chosen_by_gain():
    gains = [0.0, 9.0, np.nan, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -7.0]
    chosen = choose(card_of_gains(gains), each=2)
    assert chosen == {"best": [1, 8], "median": [6, 5], "worst": [0, 9]}


def test_no_image_is_chosen_twice_in_a_small_split():
    for count in range(8):
        chosen = choose(card_of_gains(np.arange(count)), each=3)
        places = [place for kind in chosen.values() for place in kind]
        assert sorted(places) == sorted(set(places))
        assert len(places) == min(count, 9)
        assert not any(choose(card_of_gains(np.arange(count)), each=0).values())


def test_the_page_shows_pictures_that_exist(pairs, tmp_path):
    data = pairs()
    evaluator = SplitEvaluator(lambda images: images * 0.9, data, batch_size=4)
    card = evaluator.run(progress=False, about={"blur": {"kind": "gaussian", "sigma": [0, 3]}})
    chosen = choose(card, 1)
    triples = evaluator.pictures([index for kind in chosen.values() for index in kind])
    folder = str(tmp_path / "report")
    OutputFolder(folder).write_text("pictures/stale.png", "of an earlier report")
    page = write_report(card, triples, folder, title="A & B", subtitle="run")
    html = files.read_text(page)
    assert "A &amp; B" in html
    assert "kind gaussian, sigma 0 to 3" in html
    assert f"{card.restored.psnr_db:.2f}" in html
    assert PROTOCOLS["ssim"] in html
    links = {urllib.parse.unquote(link) for link in re.findall(r'src="([^"]+)"', html)}
    assert links == {f"pictures/{name}" for name in files.list_dir(f"{folder}/pictures")}
    assert len(links) == 9
    best = chosen["best"][0]
    name = next(link for link in links if f"{best:06d}" in link and "restored" in link)
    stored = np.asarray(Image.open(io.BytesIO(files.read_bytes(f"{folder}/{name}"))))
    np.testing.assert_allclose(stored, data.blurred[best] * 0.9, atol=0.51)
