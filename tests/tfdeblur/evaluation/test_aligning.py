"""Köhler's layout from the build to the comparison, on made-up pictures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from data_prep import build
from tfdeblur import evaluate
from tfdeblur.errors import UserError
from tfdeblur.evaluation import networks
from tfdeblur.evaluation.aligning import Targets
from tfdeblur.evaluation.scores import ScoreCard
from tfdeblur.inference.restorer import Restorer

NAMES = [f"{image}_{path}" for image in (1, 2) for path in (1, 2)]
TARGETS = 5
SHOWN = 4  # the target that a blurred image shows, a few pixels aside


@pytest.fixture
def benchmark(tmp_path):
    """Two images on two paths with five targets each, built with the third target."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        folder = tmp_path / "targets" / f"GroundTruth{name}"
        folder.mkdir(parents=True)
        for number in range(1, TARGETS + 1):
            coarse = Image.fromarray(rng.integers(0, 256, (10, 11, 3), dtype=np.uint8))
            large = np.asarray(coarse.resize((56, 50), Image.Resampling.BICUBIC))
            Image.fromarray(large[4:44, 4:52]).save(folder / f"{number}.png")
            if number == SHOWN:
                (tmp_path / "blurry").mkdir(exist_ok=True)
                Image.fromarray(large[6:46, 3:51]).save(tmp_path / "blurry" / f"Blurry{name}.png")
    words = ["pairs", "--source", str(tmp_path), "--blurred-name", "blurry/Blurry{name}.png"]
    words += ["--sharp-name", "targets/GroundTruth{name}/3.png", "--val-share", "0"]
    words += ["--test-scenes", "*", "--workers", "1", "--out", str(tmp_path / "data")]
    assert build.main(words) == 0
    return tmp_path


def test_koehlers_benchmark_counts_the_best_of_an_images_targets(benchmark, monkeypatch):
    restorer = Restorer(lambda images: images / 2, name="dark")
    network = networks.EvaluatedNetwork(restorer, {"restored": restorer.restore}, None, None, {})
    monkeypatch.setattr(networks, "open_network", lambda *_: network)
    out, data = str(benchmark / "out"), str(benchmark / "data")
    words = ["--workdir", "runs/dark", "--data", data, "--full", "--crops", "none", "--out", out]
    assert evaluate.main([*words, "--targets", str(benchmark / "targets"), "--max-shift", "3"]) == 0
    card = ScoreCard.load(out)
    rows = card.rows
    assert card.images == 4 and rows["blurred"]["psnr_shift_db"] < 20
    # Half as bright is the same after scaling; the overlap of the fourth target is exact but for
    # the scale, which is found before the shift.
    assert rows["blurred"]["psnr_target_db"] > rows["blurred"]["psnr_db"] + 8
    assert rows["restored"]["psnr_target_db"] == pytest.approx(
        rows["blurred"]["psnr_target_db"], abs=0.05
    )
    # The same pictures as files of another program have the same scores in the comparison.
    peer = benchmark / "peer"
    peer.mkdir()
    for name in NAMES:
        shutil.copy(benchmark / "blurry" / f"Blurry{name}.png", peer / f"{name}.png")
    compared = evaluate.run_compare(
        evaluate.EvaluateConfig(compare=(out, str(peer)), out=f"{out}/compared")
    )
    given = compared.card.cards[1].rows["restored"]
    for metric in ("psnr_target_db", "psnr_shift_db", "ssim_shift"):
        assert given[metric] == pytest.approx(rows["blurred"][metric], abs=1e-4)
    assert {"psnr_target_db", "psnr_shift_db"} <= set(compared.card.metrics)


def test_targets_of_no_or_several_images_are_named(benchmark, tmp_path):
    folder = str(benchmark / "targets")
    image = np.random.default_rng(9).random((40, 48, 3)).astype(np.float32)
    with pytest.raises(UserError, match=folder):
        list(Targets(folder).of(image))
    path = benchmark / "targets" / "GroundTruth1_2" / "9.png"
    path.write_bytes((benchmark / "targets" / "GroundTruth1_1" / "3.png").read_bytes())
    with pytest.raises(UserError, match=str(path)):
        Targets(folder)
    with pytest.raises(UserError, match="targets"):
        Targets(str(tmp_path / "nothing"))
