"""The table of checkpoints: marks, notes, files and pictures."""

import csv
import dataclasses
import io
import math

import numpy as np
import pytest

from tfdeblur.evaluation.checkpoints import CheckpointTable, Stage, write_page
from tfdeblur.evaluation.evaluator import Triplet
from tfdeblur.io import files


def row(psnr, ssim=0.9):
    mse = 10 ** (-psnr / 10)
    return {
        "psnr_db": psnr,
        "psnr_of_mean_mse_db": psnr,
        "ssim": ssim,
        "mse": mse,
        "mae": mse,
        "log_cosh": mse,
        "exact": 0,
    }


def table(psnrs, epochs=True, baseline=25.0, **options):
    stages = [
        Stage(100 * (i + 1), (i + 1) / 2 if epochs else None, row(psnr))
        for i, psnr in enumerate(psnrs)
    ]
    return CheckpointTable(row(baseline), stages, images=7, differing=5, **options)


def with_strips(found):
    """Adds two strips, whose pictures name their checkpoint."""
    image = np.zeros((300, 20, 3), np.uint8)
    stages = [
        dataclasses.replace(
            stage, pictures=[f"data:{name} at {stage.images}" for name in ("first", "second")]
        )
        for stage in found.stages
    ]
    strips = [Triplet(i, image, image, image, "scene <1>", f"{i}") for i in range(2)]
    return dataclasses.replace(found, stages=stages, strips=strips)


def test_baseline_is_the_first_row_and_the_best_is_marked():
    found = table([24.0, 28.5, 27.0])
    header, body = found.cells()
    assert header[:3] == ["images seen", "epochs", "PSNR dB"]
    assert [line[0] for line in body] == ["blurred", "100", "200", "300"]
    assert [line[1] for line in body] == ["", "0.50", "1.00", "1.50"]
    assert [line[2] for line in body] == ["25.00", "24.00", "*28.50", "27.00"]
    # Lower errors are better, and the earliest of equal scores is the best.
    assert found.best()["mse"] == 200 and found.best()["ssim"] == 100
    lines = found.table().splitlines()
    assert len({len(line) for line in lines[:6]}) == 1


def test_checkpoints_worse_than_the_input_are_counted_by_metric():
    (note,) = [note for note in table([24.0, 24.5, 27.0]).notes() if "worse" in note]
    assert note == (
        "Checkpoints, of 3, that are worse than the blurred input itself: PSNR 2, PSNR of mean MSE "
        "2, MSE 2, MAE 2, LogCosh 2."
    )
    assert "worse" not in table([26.0]).table()


def test_undefined_score_is_never_the_best():
    found = table([24.0, math.nan])
    assert found.best()["psnr_db"] == 100
    assert found.cells()[1][2][2] == "-"
    assert found.to_dict()["checkpoints"][1]["psnr_db"] is None
    assert "psnr_db" not in table([math.nan]).best()


def test_files_list_every_checkpoint(tmp_path):
    found = table([24.0, 28.5], epochs=False, skipped={"c/3": "c/3 is damaged."}, about={"a": 1})
    found.write(str(tmp_path))
    stored = files.read_json(f"{tmp_path}/checkpoints.json")
    assert stored["a"] == 1 and stored["skipped"] == {"c/3": "c/3 is damaged."}
    assert stored["baseline"]["psnr_db"] == 25.0
    assert [c["images_seen"] for c in stored["checkpoints"]] == [100, 200]
    assert stored["best"]["psnr_db"] == 200
    lines = list(csv.DictReader(io.StringIO(files.read_text(f"{tmp_path}/checkpoints.csv"))))
    assert [(line["row"], line["images_seen"]) for line in lines] == [
        ("blurred", ""),
        ("restored", "100"),
        ("restored", "200"),
    ]
    assert float(lines[2]["psnr_db"]) == 28.5


@pytest.mark.parametrize(("epochs", "label"), [(True, "epochs"), (False, "images seen")])
def test_curves_use_epochs_if_known(epochs, label):
    psnr, ssim = table([24.0, 28.5], epochs=epochs).charts()
    assert psnr.x_label == label and ssim.title == "SSIM"
    assert psnr.series["restored"][1] == ((1.0 if epochs else 200.0), 28.5)
    assert psnr.levels == {"blurred input": 25.0}


def test_strip_of_many_checkpoints_shows_both_ends_and_the_best():
    psnrs = [20.0] * 40
    psnrs[17] = 30.0
    (_, shown), _ = with_strips(table(psnrs)).pictures()
    assert len(shown) == 9 and [*shown][:: len(shown) - 1] == ["blurred", "sharp"]
    assert {"0.5 epochs", "9 epochs", "20 epochs"} <= set(shown)
    (_, shown), _ = with_strips(table([20.0, 30.0])).pictures()
    assert len(shown) == 4


def test_page_is_a_single_file_with_its_pictures(tmp_path):
    found = with_strips(table([24.0, 28.5]))
    html = files.read_text(write_page(found, str(tmp_path), title="t"))
    assert html.count('src="data:image/png;base64,') == 2 * 2
    assert html.count('src="data:first at') == html.count('src="data:second at') == 2
    assert "href" not in html and "<script" not in html
    for text in ("scene &lt;1&gt;", "0.5 epochs", "1 epochs", "sharp", "*28.50", "blurred input"):
        assert text in html
    assert len(html) < 40_000
