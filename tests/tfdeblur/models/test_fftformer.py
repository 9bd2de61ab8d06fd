import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.errors import ConfigError
from tfdeblur.models import fftformer

RNG = np.random.default_rng(0)


def patches(features):
    """Returns the 8x8 patches of [B, H, W, C] as [B H W / 64, C, 8, 8]."""
    batch, height, width, channels = features.shape
    cut = features.reshape(batch, height // 8, 8, width // 8, 8, channels)
    return cut.transpose(0, 1, 3, 5, 2, 4).reshape(-1, channels, 8, 8)


def test_parameter_count_is_the_authors_without_their_unused_convolution():
    generator = models.create("fftformer")
    assert generator.network.count_params() == 16_560_474 - 192 * 96
    assert generator.multiple == 32


def test_patch_spectra_equal_those_of_numpy():
    features = RNG.normal(size=(2, 16, 24, 3)).astype(np.float32)
    real, imaginary = fftformer.patch_spectra(features)
    spectra = np.fft.rfft2(patches(features)).reshape(12, 3, 40).transpose(0, 2, 1)
    np.testing.assert_allclose(real, spectra.real, atol=1e-5)
    np.testing.assert_allclose(imaginary, spectra.imag, atol=1e-5)
    back = fftformer.from_spectra(real, imaginary, features)
    np.testing.assert_allclose(back, features, atol=1e-5)


def test_inverse_of_any_spectrum_equals_that_of_numpy():
    # Learned factors give spectra that belong to no real values.
    real, imaginary = RNG.normal(size=(2, 6, 40, 3)).astype(np.float32)
    found = fftformer.from_spectra(real, imaginary, np.zeros((1, 16, 24, 1), np.float32))
    spectra = (real + 1j * imaginary).transpose(0, 2, 1).reshape(6, 3, 8, 5)
    np.testing.assert_allclose(patches(found.numpy()), np.fft.irfft2(spectra), atol=1e-5)


def test_frequencies_are_scaled_by_channel():
    layer = fftformer.FrequencyScaling()
    features = RNG.normal(size=(1, 8, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(features), features, atol=1e-5)  # the factors are initially 1
    factors = RNG.normal(size=(40, 3)).astype(np.float32)
    layer.scale.assign(factors)
    expected = np.fft.irfft2(np.fft.rfft2(patches(features)) * factors.T.reshape(3, 8, 5))
    np.testing.assert_allclose(patches(layer(features).numpy()), expected, atol=1e-5)


def test_patches_are_convolved_circularly():
    queries, keys = RNG.normal(size=(2, 1, 8, 8, 1)).astype(np.float32)
    found = fftformer.PatchConvolution()(queries, keys)[0, ..., 0]
    expected = np.zeros((8, 8))
    for row in range(8):
        for column in range(8):
            shifted = np.roll(keys[0, ..., 0], (row, column), (0, 1))
            expected += queries[0, row, column, 0] * shifted
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_spectra_are_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.create("fftformer", TINY["fftformer"]).network
    finally:
        keras.config.set_dtype_policy(policy)
    kinds = (fftformer.FrequencyScaling, fftformer.PatchConvolution)
    found = [layer.compute_dtype for layer in network.layers if isinstance(layer, kinds)]
    assert found and set(found) == {"float32"}


def test_upsampling_equals_linear_interpolation():
    images = RNG.random((2, 3, 5, 4), dtype=np.float32)
    expected = tf.image.resize(images, (6, 10), "bilinear")
    np.testing.assert_allclose(fftformer.BilinearUpsampling()(images), expected, atol=1e-6)


def test_encoder_and_fusion_have_no_attention():
    options = {"width": 4, "blocks": (2, 1, 1), "refinement": 1}
    network = models.create("fftformer", options).network
    products = [x.name for x in network.layers if isinstance(x, fftformer.PatchConvolution)]
    names = ["decoder2_block1", "decoder1_block1", "decoder0_block1", "decoder0_block2"]
    assert products == [f"{name}_product" for name in [*names, "refinement_block1"]]
    biased = [x.name for x in network.layers if getattr(x, "use_bias", False)]
    assert biased == ["fusion1_conv1", "fusion1_conv2", "fusion0_conv1", "fusion0_conv2"]
    assert network.get_layer("fusion0_block1_expand").filters == 2 * 21  # 2.66 times 8


def test_output_includes_the_input():
    network = models.create("fftformer", TINY["fftformer"]).network
    last = network.get_layer("correction")
    last.kernel.assign(np.zeros(last.kernel.shape))
    picture = RNG.random((1, 16, 32, 3), dtype=np.float32)
    np.testing.assert_array_equal(network(picture), picture)


@pytest.mark.parametrize("options", [{"blocks": ()}, {"blocks": (1, 0)}, {"refinement": -1}])
def test_invalid_options_raise_config_error(options):
    with pytest.raises(ConfigError, match=r"blocks|refinement"):
        models.create("fftformer", options)
