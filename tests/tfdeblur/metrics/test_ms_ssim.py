"""MS-SSIM against an independent float64 implementation and TensorFlow's."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import tensorflow as tf

from tfdeblur.metrics import METRICS

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def maps(x, y):
    """SSIM and its contrast-structure part of one channel with SciPy's Gaussian, in float64."""

    def mean(values):
        found = scipy.ndimage.gaussian_filter(values, 1.5, truncate=3.5)
        return found[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    structure = (2 * covariance + 9e-4) / (vx + vy + 9e-4)
    return (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4) * structure, structure


def halved(x):
    height, width = x.shape[0] // 2, x.shape[1] // 2
    return x[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))


def reference(sharp, restored):
    values = []
    for channel in range(3):
        x, y = np.float64(sharp[..., channel]), np.float64(restored[..., channel])
        value = 1.0
        for scale, weight in enumerate(WEIGHTS):
            ssim, structure = maps(x, y)
            found = ssim if scale == len(WEIGHTS) - 1 else structure
            value *= max(found.mean(), 0) ** weight
            x, y = halved(x), halved(y)
        values.append(value)
    return np.mean(values)


@pytest.fixture(scope="module", params=[(176, 192), (190, 201)], ids=["even", "odd"])
def pair(request):
    height, width = request.param
    photo = skimage.data.astronaut()[:height, 100 : 100 + width] / 255.0
    noise = np.random.default_rng(0).normal(0, [[[[0.02]]], [[[0.3]]]], (2, height, width, 3))
    sharp = np.repeat(photo[np.newaxis], 2, axis=0)
    return np.float32(sharp), np.float32(np.clip(sharp + noise, 0, 1))


def test_ms_ssim_equals_a_float64_reference(pair):
    expected = [reference(*both) for both in zip(*pair, strict=True)]
    np.testing.assert_allclose(METRICS["ms_ssim"].compute(*pair), expected, atol=1e-5)


def test_ms_ssim_of_even_sizes_is_close_to_tf_image():
    rng = np.random.default_rng(1)
    sharp = rng.random((1, 192, 176, 3), dtype=np.float32)
    restored = np.clip(sharp + rng.normal(0, 0.1, sharp.shape), 0, 1).astype(np.float32)
    expected = tf.image.ssim_multiscale(sharp, restored, 1.0)
    np.testing.assert_allclose(METRICS["ms_ssim"].compute(sharp, restored), expected, atol=1e-3)


def test_ms_ssim_of_an_inverted_image_is_zero(pair):
    sharp, _ = pair
    found = METRICS["ms_ssim"].compute(sharp, 1 - sharp).numpy()
    np.testing.assert_array_equal(found, 0)


def test_ms_ssim_below_176_pixels_is_rejected():
    metric = METRICS["ms_ssim"]
    assert metric.fits(176, 176) and not metric.fits(175, 400)
    small = np.zeros((1, 175, 400, 3), np.float32)
    with pytest.raises(ValueError, match="11 x 11"):
        metric.compute(small, small)
