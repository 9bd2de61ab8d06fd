"""The registry of metrics, and metrics of pixels against float64 references."""

import math
import pathlib

import numpy as np
import pytest
import skimage.color
from skimage.metrics import peak_signal_noise_ratio

from tfdeblur import config as train_config
from tfdeblur import metrics, testing
from tfdeblur.errors import ConfigError
from tfdeblur.losses import pixel
from tfdeblur.metrics import METRICS, Metric
from tfdeblur.metrics.psnr import psnr_db, psnr_of_mean_mse_db
from tfdeblur.testing import metrics as checks

COMPUTED = [metric for metric in METRICS.values() if metric.compute]


def test_registry_contains_the_metrics_of_every_family() -> None:
    families = [path.stem for path in pathlib.Path(metrics.__file__).parent.glob("*.py")]
    assert set(train_config.METRIC_FAMILIES.names()) == set(families) - {"__init__", "metric"}
    for family in train_config.METRIC_FAMILIES.names():
        for metric in train_config.METRIC_FAMILIES.load(family).METRICS:
            assert METRICS[metric.key] is metric
    assert list(METRICS)[:4] == ["psnr_db", "psnr_of_mean_mse_db", "psnr_y", "ssim"]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_metric_has_title_and_protocol(metric: Metric) -> None:
    checks.title_and_protocol_are_given(metric)


@pytest.mark.parametrize("check", testing.METRIC_CHECKS, ids=testing.name_of)
@pytest.mark.parametrize("metric", COMPUTED, ids=lambda metric: metric.key)
def test_metric_fulfills(check, metric: Metric) -> None:
    check(metric)


def test_quick_metrics_are_those_of_earlier_score_files() -> None:
    quick = [metric.key for metric in METRICS.values() if metric.quick]
    assert quick[:6] == ["psnr_db", "psnr_of_mean_mse_db", "ssim", "mse", "mae", "log_cosh"]


def test_psnr_equals_scikit_image(pairs) -> None:
    for sharp, restored, found, luma in zip(
        *pairs, psnr_db(*pairs), METRICS["psnr_y"].compute(*pairs), strict=True
    ):
        pair = [np.float64(image) for image in (sharp, restored)]
        expected = peak_signal_noise_ratio(*pair, data_range=1.0)
        assert float(found) == pytest.approx(expected, rel=1e-5)
        pair = [skimage.color.rgb2ycbcr(image)[..., 0] / 255 for image in pair]
        expected = peak_signal_noise_ratio(*pair, data_range=1.0)
        assert float(luma) == pytest.approx(expected, rel=1e-5)


def test_psnr_of_identical_images_is_infinite(pairs) -> None:
    sharp, _ = pairs
    assert np.isposinf(psnr_db(sharp, sharp)).all()


def test_psnr_of_mean_mse_follows_the_formula() -> None:
    assert psnr_of_mean_mse_db({"mse": 1e-3}) == pytest.approx(30.0, abs=1e-12)
    assert psnr_of_mean_mse_db({"mse": 0.0}) == math.inf
    assert math.isnan(psnr_of_mean_mse_db({}))
    assert math.isnan(psnr_of_mean_mse_db({"mse": math.nan}))


def test_pixel_errors_equal_numpy(pairs) -> None:
    sharp, restored = (np.float64(x) for x in pairs)
    difference, axes = restored - sharp, (1, 2, 3)
    for key, expected in (
        ("mse", np.mean(difference**2, axes)),
        ("mae", np.mean(np.abs(difference), axes)),
        ("log_cosh", np.mean(np.log(np.cosh(difference)), axes)),
    ):
        np.testing.assert_allclose(METRICS[key].compute(*pairs), expected, rtol=1e-5)


def test_psnr_loss_equals_the_metric(pairs) -> None:
    np.testing.assert_allclose(pixel.negative_psnr_per_example(*pairs), -psnr_db(*pairs), rtol=1e-3)


def test_text_uses_scale_decimals_and_sign() -> None:
    assert METRICS["mse"].header == "MSE e-3" and METRICS["ssim"].header == "SSIM"
    assert METRICS["mse"].text(1.5e-3) == "1.500"
    assert METRICS["psnr_db"].text(0.25, signed=True) == "+0.25"
    assert METRICS["ssim"].text(math.nan) == METRICS["ssim"].text(math.nan, signed=True) == "-"


def settings(metric: str) -> dict:
    return {
        "workdir": "w",
        "model": "unet16",
        "objective": "content",
        "data": {"paths": ["d"]},
        "output": {"best_metric": metric},
    }


@pytest.mark.parametrize("metric", [metric.key for metric in METRICS.values() if metric.quick])
def test_best_metric_accepts_every_quick_metric(metric: str) -> None:
    assert train_config.resolve(settings(metric)).output.best_metric == metric


@pytest.mark.parametrize("metric", ["sism", "ssim_volume"])
def test_best_metric_rejects_metrics_that_validation_does_not_measure(metric: str) -> None:
    with pytest.raises(ConfigError, match=rf"output\.best_metric.*'{metric}'"):
        train_config.resolve(settings(metric))
