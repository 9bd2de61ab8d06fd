"""Numbers of a whole split against float64 references and known answers."""

import math

import numpy as np
import pytest
import tensorflow as tf
from skimage import metrics as reference

from tfdeblur.errors import DataError
from tfdeblur.evaluation import METRICS, SplitEvaluator, evaluate_split
from tfdeblur.training.engines.tensorflow import runtime


def halfway(images):
    """A network that is neither perfect nor constant, and overshoots where it may."""
    return images * 1.2 - 0.05


def quiet(restore, data, batch_size=3, **options):
    return evaluate_split(restore, data, batch_size=batch_size, progress=False, **options)


def expected(sharp, restored):
    """Every metric of every image in float64, by scikit-image where it has one."""
    sharp, restored = sharp / 255.0, np.clip(np.float64(restored), 0, 1)
    difference = restored - sharp
    axes = (1, 2, 3)
    mse = np.mean(difference**2, axes)
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
        "ssim": np.array(
            [
                reference.structural_similarity(
                    t,
                    r,
                    data_range=1,
                    channel_axis=-1,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for t, r in zip(sharp, restored, strict=True)
            ]
        ),
    }


def test_every_value_agrees_with_float64(pairs):
    data = pairs()
    card = quiet(halfway, data)
    for row, images in (
        ("blurred", data.blurred / 255.0),
        ("restored", halfway(data.blurred / 255.0)),
    ):
        for metric, values in expected(data.sharp, images).items():
            np.testing.assert_allclose(
                card.per_image[row][metric], values, rtol=2e-4, err_msg=metric
            )


def test_averages_follow_the_protocol(pairs):
    data = pairs()
    card = quiet(halfway, data)
    values = expected(data.sharp, halfway(data.blurred / 255.0))
    assert (card.images, card.differing) == (7, 5)
    assert card.restored.psnr_db == pytest.approx(np.mean(values["psnr_db"][2:]), rel=1e-5)
    assert card.restored.mse == pytest.approx(np.mean(values["mse"]), rel=1e-5)
    assert card.restored.psnr_of_mean_mse_db == pytest.approx(
        -10 * math.log10(np.mean(values["mse"])), rel=1e-5
    )


def test_a_constant_network_scores_what_the_formula_says(pairs):
    data = pairs()
    data.sharp[:] = 255
    card = quiet(lambda images: tf.zeros_like(images) + 0.5, data)
    assert card.restored.psnr_db == pytest.approx(-10 * math.log10(0.25))
    assert card.restored.mae == pytest.approx(0.5)
    assert card.restored.log_cosh == pytest.approx(math.log(math.cosh(0.5)), rel=1e-5)


def test_the_identity_scores_like_its_input(pairs):
    card = quiet(lambda images: images, pairs())
    assert card.rows["restored"] == card.rows["blurred"]
    assert not card.losses()
    np.testing.assert_array_equal(card.gains_db()[2:], 0)
    assert np.isnan(card.gains_db()[:2]).all()


def test_a_perfect_restoration_counts_as_the_ceiling(pairs):
    data = pairs()
    truth = tf.constant(data.sharp[2] / 255.0, tf.float32)
    card = quiet(lambda images: images * 0 + truth, data, batch_size=1)
    psnr = card.per_image["restored"]["psnr_db"]
    assert psnr[2] > 140
    assert card.restored.exact == 1
    assert card.restored.psnr_db == pytest.approx((100 + psnr[3:].sum()) / 5, rel=1e-5)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 2, 4, 7, 16])
def test_the_batch_size_changes_nothing(pairs, batch_size):
    data = pairs()
    whole, parts = quiet(halfway, data, 7), quiet(halfway, data, batch_size)
    for metric in METRICS:
        np.testing.assert_allclose(
            parts.per_image["restored"][metric], whole.per_image["restored"][metric], rtol=1e-5
        )
    assert list(parts.frames) == [f"{i:04d}" for i in range(7)]
    assert parts.scenes[-1] == "scene2"


@pytest.mark.slow
def test_two_replicas_give_the_numbers_of_one(pairs):
    data = pairs()
    strategy = runtime.make_strategy("mirrored")
    evaluator = SplitEvaluator(halfway, data, batch_size=3, strategy=strategy)
    spread, alone = evaluator.run(progress=False), quiet(halfway, data)
    for row in ("blurred", "restored"):
        for metric in METRICS:
            np.testing.assert_allclose(
                spread.per_image[row][metric], alone.per_image[row][metric], rtol=1e-5
            )
    assert [t.index for t in evaluator.pictures([6, 0])] == [6, 0]


def test_a_kept_evaluator_follows_the_weights_and_traces_once_each_way(pairs):
    data = pairs()
    gain, traces = tf.Variable(1.0), []

    def restore(images):
        traces.append(images.shape)
        return images * gain

    evaluator = SplitEvaluator(restore, data, batch_size=3)
    first = evaluator.run(progress=False)
    gain.assign(0.5)
    second, third = evaluator.run(progress=False), evaluator.run(progress=False)
    assert second.restored.mse > first.restored.mse * 2
    assert second.rows == third.rows
    # The baseline is remembered, so it is measured in one graph and left out in the other.
    assert second.rows["blurred"] == first.rows["blurred"]
    assert traces == [(3, 16, 20, 3)] * 2


def test_the_baseline_and_measures_can_be_left_out(pairs):
    card = quiet(halfway, pairs(), baseline=False, measures=("psnr_db", "mse"))
    assert list(card.rows) == ["restored"]
    assert math.isnan(card.restored.ssim)
    assert math.isfinite(card.restored.psnr_db)
    with pytest.raises(ValueError, match="sism"):
        quiet(halfway, pairs(), measures=("sism",))


def test_images_smaller_than_the_window_have_no_ssim(pairs):
    card = quiet(halfway, pairs(height=8, width=30))
    assert math.isnan(card.restored.ssim)
    assert math.isfinite(card.restored.mae)


def test_images_are_handed_over_in_order_and_without_filling(pairs):
    data, seen = pairs(), []
    quiet(halfway, data, batch_size=4, on_images=seen.extend)
    assert [t.index for t in seen] == list(range(7))
    assert seen[4].frame == "0004"
    np.testing.assert_array_equal(seen[6].sharp, data.sharp[6])
    wanted = np.clip(halfway(data.blurred[6] / 255.0), 0, 1)
    np.testing.assert_allclose(seen[6].restored, wanted, atol=1e-6)


def test_pictures_come_in_the_order_asked_and_are_read_once(pairs):
    data = pairs()
    evaluator = SplitEvaluator(halfway, data, batch_size=2)
    found = evaluator.pictures([5, 1, 99, 4, 0])
    assert [t.index for t in found] == [5, 1, 4, 0]
    np.testing.assert_array_equal(found[0].blurred, data.blurred[5])
    wanted = np.clip(halfway(data.blurred[5] / 255.0), 0, 1)
    np.testing.assert_allclose(found[0].restored, wanted, atol=1e-6)
    read = data.read
    assert [t.frame for t in evaluator.pictures([4, 5])] == ["0004", "0005"]
    assert data.read == read


def test_an_empty_split_is_refused(pairs):
    data = pairs()
    empty = data.dataset(3).take(0)
    data.dataset = lambda batch_size: empty
    with pytest.raises(DataError, match="no images"):
        quiet(halfway, data)


def test_evaluators_of_several_networks_are_not_taken_for_one_that_retraces(pairs, capfd, caplog):
    data = pairs()
    for gain in np.linspace(0.5, 1.0, 7):
        quiet(lambda images, gain=gain: images * gain, data, measures=("mse",))
    assert "retracing" not in caplog.text + capfd.readouterr().err
