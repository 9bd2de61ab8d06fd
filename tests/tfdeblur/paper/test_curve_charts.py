"""Curves from the histories of runs."""

import pytest

from tfdeblur.errors import UserError
from tfdeblur.paper.curve_charts import curves

ROWS = {
    100: {"epoch": 0.5, "generator/loss": 0.2, "train/psnr_db": 20.0},
    200: {
        "epoch": 1.0,
        "generator/loss": 0.1,
        "train/psnr_db": 22.0,
        "val/loss": 0.15,
        "val/psnr_db": 21.0,
        "val/mae": 0.05,
        "blurred/psnr_db": 19.0,
    },
}


def test_one_run_has_training_validation_and_baseline():
    loss, psnr = curves({"run": ROWS}, ("loss", "psnr_db"))
    assert loss.series == {"validation": [(1.0, 0.15)], "training": [(0.5, 0.2), (1.0, 0.1)]}
    assert loss.dashed == ("training",) and loss.log_y and loss.x_label == "epochs"
    assert psnr.series["training"] == [(0.5, 20.0), (1.0, 22.0)]
    assert psnr.levels == {"blurred input": 19.0} and psnr.y_label == "dB"


def test_several_runs_share_charts_with_epochs_of_their_own():
    other = {50: {"epoch": 1.0, "val/psnr_db": 25.0, "blurred/psnr_db": 24.0}}
    (chart,) = curves({"a": ROWS, "b": other}, ("psnr_db",))
    assert chart.series["a"] == [(1.0, 21.0)] and chart.series["b"] == [(1.0, 25.0)]
    assert set(chart.series) == {"a", "a, training", "b"}
    assert chart.levels == {"a, blurred input": 19.0, "b, blurred input": 24.0}
    (chart,) = curves({"a": ROWS, "b": other}, ("psnr_db",), "images")
    assert chart.series["b"] == [(50, 25.0)] and chart.x_label == "images seen"


def test_values_have_the_unit_of_tables():
    (chart,) = curves({"run": ROWS}, ("mae",))
    assert chart.series == {"validation": [(1.0, 5.0)]} and chart.y_label == "e-2"


def test_unknown_metrics_and_epochs_are_user_errors():
    with pytest.raises(UserError, match=r"'ssim'.*psnr_db"):
        curves({"run": ROWS}, ("ssim",))
    with pytest.raises(UserError, match=r"'psnr'.*psnr_db"):
        curves({"run": ROWS}, ("psnr",))
    with pytest.raises(UserError, match=r"run.*--x images"):
        curves({"run": {100: {"val/psnr_db": 20.0}}}, ("psnr_db",))
