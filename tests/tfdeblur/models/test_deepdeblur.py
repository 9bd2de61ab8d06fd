import keras
import numpy as np
import pytest

from tfdeblur import models
from tfdeblur.models.deepdeblur import GaussianHalving

SMALL = {"blocks": 1, "width": 4}
RNG = np.random.default_rng(0)


def test_parameter_count_equals_that_of_the_authors_code():
    generator = models.create("deepdeblur")
    assert generator.network.count_params() == 11_721_321
    assert generator.multiple == 8
    assert len(generator.network.outputs) == 3


@pytest.mark.parametrize("size", [(4, 6), (32, 20)])
def test_gaussian_halving_equals_scikit_image(size):
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    images = RNG.random((2, *size, 3))
    found = GaussianHalving(dtype="float32")(images.astype(np.float32))
    for image, halved in zip(images, found, strict=True):
        expected = transform.pyramid_reduce(image, channel_axis=-1)
        np.testing.assert_allclose(halved, expected, atol=1e-6)


def test_images_without_features_stay_grey():
    network = models.create("deepdeblur", SMALL).network
    for scale in range(3):
        last = network.get_layer(f"scale{scale}_last")
        last.kernel.assign(np.zeros(last.kernel.shape))
    for output in network(RNG.random((1, 16, 8, 3), dtype=np.float32)):
        np.testing.assert_array_equal(output, 0.5)


def test_finer_scale_gets_the_coarser_output():
    network = models.create("deepdeblur", SMALL).network
    joined = keras.Model(network.input, network.get_layer("scale0_join").output)
    images = RNG.random((1, 16, 24, 3), dtype=np.float32)
    np.testing.assert_allclose(joined(images)[..., :3], images - 0.5, atol=1e-6)
    assert joined.output.shape[-1] == 6
    up = network.get_layer("scale0_up")
    up.kernel.assign(np.zeros(up.kernel.shape))
    up.bias.assign(np.repeat(np.arange(4.0), 3))  # by place in the square of four pixels
    enlarged = joined(images)[0, ..., 3:]
    np.testing.assert_array_equal(enlarged[:2, :2, 0], [[0, 1], [2, 3]])


def test_single_scale_has_one_output():
    network = models.create("deepdeblur", {**SMALL, "scales": 1}).network
    images = RNG.random((1, 6, 4, 3), dtype=np.float32)
    assert network(images).shape == images.shape
