"""Quick evaluation of a split against float64 references and known answers."""

import functools
import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import tensorflow as tf
from skimage import metrics as reference

from tfdeblur.errors import DataError
from tfdeblur.evaluation.evaluator import SplitEvaluator
from tfdeblur.evaluation.measuring import lost_gradient
from tfdeblur.evaluation.scores import ScoreCard, Setting
from tfdeblur.execution.tensorflow import TensorFlowExecutor
from tfdeblur.metrics import METRICS
from tfdeblur.training.engines.tensorflow import runtime

BLURRED = Setting("blurred", "uint8", "whole")
RESTORED = Setting("restored", "float", "whole")


def overshooting(images):
    """A network that is neither perfect nor constant and leaves [0, 1]."""
    return images * 1.2 - 0.05


def evaluate(restore, data, batch_size=3, **options) -> ScoreCard:
    evaluator = SplitEvaluator({"restored": restore}, data, batch_size=batch_size, **options)
    return evaluator.run()


def expected(sharp, restored):
    """The metrics of single images in float64, by scikit-image if it has them."""
    sharp, restored = sharp / 255.0, np.clip(np.float64(restored), 0, 1)
    difference = restored - sharp
    axes = (1, 2, 3)
    mse = np.mean(difference**2, axes)
    ssim = functools.partial(
        reference.structural_similarity,
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return {
        "mse": mse,
        "mae": np.mean(np.abs(difference), axes),
        "log_cosh": np.mean(np.log(np.cosh(difference)), axes),
        "psnr_db": np.array(
            [
                reference.peak_signal_noise_ratio(t, r, data_range=1) if e else np.inf
                for t, r, e in zip(sharp, restored, mse, strict=True)
            ]
        ),
        "ssim": np.array([ssim(t, r) for t, r in zip(sharp, restored, strict=True)]),
    }


@pytest.mark.parametrize("setting", [BLURRED, RESTORED])
def test_values_equal_float64(pairs, setting):
    data = pairs()
    images = data.blurred / 255.0
    card = evaluate(overshooting, data)
    wanted = expected(data.sharp, images if setting == BLURRED else overshooting(images))
    for metric, values in wanted.items():
        found = card.values[setting][metric]
        np.testing.assert_allclose(found, values, rtol=2e-4, err_msg=metric)


def test_means_follow_the_protocol(pairs):
    data = pairs()
    card = evaluate(overshooting, data)
    values = expected(data.sharp, overshooting(data.blurred / 255.0))
    assert (card.images, card.differing) == (7, 5)
    row = card.rows["restored"]
    assert row["psnr_db"] == pytest.approx(np.mean(values["psnr_db"][2:]), rel=1e-5)
    assert row["mse"] == pytest.approx(np.mean(values["mse"]), rel=1e-5)
    of_mean = -10 * math.log10(np.mean(values["mse"]))
    assert row["psnr_of_mean_mse_db"] == pytest.approx(of_mean, rel=1e-5)


def test_constant_network_scores_as_the_formulas(pairs):
    data = pairs()
    data.sharp[:] = 255
    row = evaluate(lambda images: tf.zeros_like(images) + 0.5, data).rows["restored"]
    assert row["psnr_db"] == pytest.approx(-10 * math.log10(0.25))
    assert row["mae"] == pytest.approx(0.5)
    assert row["log_cosh"] == pytest.approx(math.log(math.cosh(0.5)), rel=1e-5)


def test_identity_scores_as_its_input(pairs):
    card = evaluate(lambda images: images, pairs())
    assert card.rows["restored"] == card.rows["blurred"]
    assert not card.worse_than_input()
    np.testing.assert_array_equal(card.gains_db()[2:], 0)
    assert np.isnan(card.gains_db()[:2]).all()


def test_perfect_restoration_counts_as_the_ceiling(pairs):
    data = pairs()
    target = tf.constant(data.sharp[2] / 255.0, tf.float32)
    card = evaluate(lambda images: images * 0 + target, data, batch_size=1)
    psnr = card.values[RESTORED]["psnr_db"]
    assert psnr[2] > 140
    row = card.rows["restored"]
    assert row["exact"] == 1
    assert row["psnr_db"] == pytest.approx((100 + psnr[3:].sum()) / 5, rel=1e-5)


def test_network_that_returns_nan_has_nan_means(pairs):
    """So that validation never takes a diverged network for the best one."""
    row = evaluate(lambda images: images * np.float32("nan"), pairs()).rows["restored"]
    assert all(math.isnan(row[m.key]) for m in METRICS.values() if m.quick)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 2, 4, 7, 16])
def test_batch_size_does_not_affect_values_or_order(pairs, batch_size):
    data = pairs()
    whole, parts = evaluate(overshooting, data, 7), evaluate(overshooting, data, batch_size)
    for metric, values in whole.values[RESTORED].items():
        np.testing.assert_allclose(parts.values[RESTORED][metric], values, rtol=1e-5)
    assert list(parts.frames) == [f"{i:04d}" for i in range(7)]
    assert parts.scenes[-1] == "scene2"


@pytest.mark.slow
def test_two_replicas_equal_one(pairs):
    data = pairs()
    strategy = runtime.make_strategy("mirrored")
    networks = {"restored": overshooting}
    evaluator = SplitEvaluator(networks, data, batch_size=3, executor=TensorFlowExecutor(strategy))
    spread, alone = evaluator.run(), evaluate(overshooting, data)
    for setting, found in alone.values.items():
        for metric, values in found.items():
            np.testing.assert_allclose(spread.values[setting][metric], values, rtol=1e-5)
    np.testing.assert_allclose(spread.lost_gradient, alone.lost_gradient, atol=1e-5)
    assert [t.index for t in evaluator.pictures([6, 0])] == [6, 0]


def test_evaluator_follows_the_weights_without_retracing(pairs):
    data = pairs()
    gain, traces = tf.Variable(1.0), []

    def restore(images):
        traces.append(images.shape)
        return images * gain

    evaluator = SplitEvaluator({"restored": restore}, data, batch_size=3)
    first = evaluator.run()
    gain.assign(0.5)
    second, third = evaluator.run(), evaluator.run()
    evaluator.pictures([0])
    assert second.rows["restored"]["mse"] > first.rows["restored"]["mse"] * 2
    assert second.rows == third.rows
    assert second.rows["blurred"] == first.rows["blurred"]
    np.testing.assert_array_equal(second.lost_gradient, first.lost_gradient)
    assert traces == [(3, 16, 20, 3)]


def test_only_the_given_metrics_are_measured(pairs):
    card = evaluate(overshooting, pairs(), metrics=[METRICS["psnr_db"], METRICS["mse"]])
    assert card.metrics == ["psnr_db", "mse"]
    row = card.rows["restored"]
    assert math.isnan(row["ssim"]) and math.isfinite(row["psnr_db"])


def test_images_smaller_than_the_window_have_no_ssim(pairs):
    row = evaluate(overshooting, pairs(height=8, width=30)).rows["restored"]
    assert math.isnan(row["ssim"]) and math.isfinite(row["mae"])


def rounded(images):
    return np.rint(np.clip(overshooting(images / 255.0), 0, 1) * 255)


def test_triplets_come_in_order_without_padding(pairs):
    data = pairs()
    evaluator = SplitEvaluator({"restored": overshooting}, data, batch_size=4)
    seen = list(evaluator.triplets())
    assert [t.index for t in seen] == list(range(7))
    assert seen[4].frame == "0004" and seen[6].restored.dtype == np.uint8
    np.testing.assert_array_equal(seen[6].sharp, data.sharp[6])
    np.testing.assert_allclose(seen[6].restored, rounded(data.blurred[6]), atol=1)


def test_pictures_come_in_the_given_order_and_inputs_are_read_once(pairs):
    data = pairs()
    evaluator = SplitEvaluator({"restored": overshooting}, data, batch_size=2)
    found = evaluator.pictures([5, 1, 99, 4, 0])
    assert [t.index for t in found] == [5, 1, 4, 0]
    np.testing.assert_array_equal(found[0].blurred, data.blurred[5])
    np.testing.assert_allclose(found[0].restored, rounded(data.blurred[5]), atol=1)
    read = data.read
    assert [t.frame for t in evaluator.pictures([4, 5])] == ["0004", "0005"]
    assert data.read == read
    assert evaluator.pictures([]) == []


def test_empty_split_raises_data_error(pairs):
    data = pairs()
    empty = data.dataset(3).take(0)
    data.dataset = lambda batch_size: empty
    with pytest.raises(DataError):
        evaluate(overshooting, data)


def test_lost_gradient_grows_with_the_blur_and_is_one_for_a_flat_image():
    sharp = np.float32(skimage.data.astronaut()[60:140, 180:270] / 255.0)[np.newaxis]
    blurred = [scipy.ndimage.gaussian_filter(sharp, (0, s, s, 0)) for s in (0.6, 1.2, 3.0)]
    lost = [float(lost_gradient(sharp, image)[0]) for image in [sharp, *blurred]]
    assert lost == sorted(lost) and abs(lost[0]) < 1e-6 and 0.4 < lost[-1] < 1
    flat = np.full_like(sharp, 0.5)
    assert abs(float(lost_gradient(sharp, flat)[0]) - 1) < 1e-5
    assert np.isfinite(lost_gradient(flat, flat)).all()


def test_evaluators_of_several_networks_cause_no_retracing_warning(pairs, capfd, caplog):
    data = pairs()
    for gain in np.linspace(0.5, 1.0, 7):
        evaluate(lambda images, gain=gain: images * gain, data, metrics=[METRICS["mse"]])
    assert "retracing" not in caplog.text + capfd.readouterr().err
