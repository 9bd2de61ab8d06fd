import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tfdeblur.losses import pixel
from tfdeblur.metrics import basic


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Crops of a photograph and of noise, with errors from faint to coarse."""
    rng = np.random.default_rng(3)
    photo = skimage.data.astronaut() / 255.0
    sharp = np.stack([photo[:48, 200:240], photo[100:148, 180:220], rng.random((48, 40, 3))])
    noise = rng.normal(0, [[[[0.005]]], [[[0.1]]], [[[0.3]]]], sharp.shape)
    return np.float32(sharp), np.float32(np.clip(sharp + noise, 0, 1))


def test_every_metric_has_a_protocol():
    for name in ("psnr_db", "ssim", "mse", "mae", "log_cosh"):
        assert callable(getattr(basic, name))
        assert basic.PROTOCOLS[name].endswith(".")
    assert "psnr_of_mean_mse_db" in basic.PROTOCOLS


def test_psnr_against_scikit_image(pairs):
    sharp, restored = pairs
    expected = [
        peak_signal_noise_ratio(np.float64(s), np.float64(r), data_range=1.0)
        for s, r in zip(sharp, restored, strict=True)
    ]
    value = basic.psnr_db(sharp, restored)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_psnr_of_identical_images_is_infinite(pairs):
    sharp, _ = pairs
    assert np.isposinf(basic.psnr_db(sharp, sharp)).all()


def test_psnr_of_mse_keeps_float64():
    value = basic.psnr_of_mse(np.float64(1e-3))
    assert value.dtype == tf.float64
    assert float(value) == pytest.approx(30.0, abs=1e-12)


def test_ssim_against_scikit_image(pairs):
    sharp, restored = pairs
    expected = [
        structural_similarity(
            np.float64(s),
            np.float64(r),
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for s, r in zip(sharp, restored, strict=True)
    ]
    np.testing.assert_allclose(basic.ssim(sharp, restored), expected, atol=2e-5)


def test_ssim_of_flat_and_identical_images():
    flat = np.full((2, 16, 16, 3), 0.7, np.float32)
    np.testing.assert_allclose(basic.ssim(flat, flat), 1.0, atol=1e-6)


def test_ssim_of_images_smaller_than_the_window():
    small = np.zeros((1, 10, 32, 3), np.float32)
    with pytest.raises(ValueError, match="11 x 11"):
        basic.ssim(small, small)


def test_errors_against_numpy(pairs):
    sharp, restored = (np.float64(x) for x in pairs)
    difference, axes = restored - sharp, (1, 2, 3)
    for metric, expected in (
        (basic.mse, np.mean(difference**2, axes)),
        (basic.mae, np.mean(np.abs(difference), axes)),
        (basic.log_cosh, np.mean(np.log(np.cosh(difference)), axes)),
    ):
        value = metric(*pairs)
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_metrics_work_with_unknown_sizes_in_a_graph(pairs):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))] * 2)
    def both(sharp, restored):
        return basic.psnr_db(sharp, restored), basic.ssim(sharp, restored)

    psnr, ssim = both(*pairs)
    np.testing.assert_allclose(psnr, basic.psnr_db(*pairs), rtol=1e-5)
    np.testing.assert_allclose(ssim, basic.ssim(*pairs), atol=1e-5)


def test_float32_even_for_bfloat16(pairs):
    sharp, restored = (tf.cast(x, tf.bfloat16) for x in pairs)
    for metric in (basic.psnr_db, basic.ssim, basic.mse, basic.mae, basic.log_cosh):
        assert metric(sharp, restored).dtype == tf.float32


def test_the_loss_and_the_metric_agree(pairs):
    np.testing.assert_allclose(
        pixel.negative_psnr_per_example(*pairs), -basic.psnr_db(*pairs), rtol=1e-3
    )
