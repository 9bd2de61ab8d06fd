"""Layers of Keras and of this library equal tensorflow-addons 0.23.0 under TensorFlow 2.15.1."""

import pathlib

import keras
import numpy as np
import pytest

from tfdeblur.degradation import kernels
from tfdeblur.models.critics.critic import SpectralConv2D

# Importing the script would import tensorflow-addons, so its settings are read from the names
# in the file.
FILE = pathlib.Path(__file__).with_name("tfa_0_23_0.npz")
with np.load(FILE) as archive:
    GOLDEN = dict(archive)


def settings(prefix: str) -> list[tuple[str, str]]:
    keys = [key.split("/") for key in GOLDEN if key.startswith(prefix)]
    return sorted({(key[1], key[2]) for key in keys if len(key) > 2})


def test_golden_file_has_versions_and_all_settings():
    assert list(GOLDEN["versions"]) == ["tensorflow 2.15.1", "tensorflow-addons 0.23.0"]
    assert len(settings("gaussian/")) == 4
    assert len(settings("instance/")) == 3
    assert len(settings("spectral/")) == 3


@pytest.mark.parametrize(("size", "sigma"), settings("gaussian/"))
def test_gaussian_blur_of_keras_with_reflected_border_equals_addons(size, sigma):
    images, expected = GOLDEN["gaussian/images"], GOLDEN[f"gaussian/{size}/{sigma}"]
    taps, radius = int(size), int(size) // 2
    border = ((0, 0), (radius, radius), (radius, radius), (0, 0))
    padded = np.pad(images, border, mode="reflect")
    blurred = keras.ops.image.gaussian_blur(
        padded, kernel_size=(taps, taps), sigma=(float(sigma), float(sigma))
    )
    inner = keras.ops.convert_to_numpy(blurred)[:, radius:-radius, radius:-radius]
    np.testing.assert_allclose(inner, expected, atol=2e-6)


@pytest.mark.parametrize(("size", "sigma"), settings("gaussian/"))
def test_gaussian_kernel_of_degradation_equals_addons(size, sigma):
    kernel = kernels.gaussian_kernel1d(float(sigma), int(size))
    for image, expected in zip(
        GOLDEN["gaussian/images"], GOLDEN[f"gaussian/{size}/{sigma}"], strict=True
    ):
        blurred = kernels.convolve_separable(image, kernel)
        np.testing.assert_allclose(blurred, expected, atol=2e-6)


@pytest.mark.parametrize(("epsilon", "kind"), settings("instance/"))
def test_group_normalization_per_channel_equals_instance_normalization(epsilon, kind):
    affine = kind == "affine"
    x = GOLDEN["instance/x"]
    layer = keras.layers.GroupNormalization(
        groups=-1, epsilon=float(epsilon), center=affine, scale=affine
    )
    layer.build(x.shape)
    if affine:
        layer.set_weights([GOLDEN["instance/gamma"], GOLDEN["instance/beta"]])
    key = f"instance/{epsilon}/{kind}"
    y = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, GOLDEN[f"{key}/y"], rtol=2e-5, atol=2e-5)

    import tensorflow as tf

    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs * outputs * outputs)
    gradient = tape.gradient(loss, inputs).numpy()
    # The gradient of a normalized value is a small difference of large terms.
    scale = np.abs(GOLDEN[f"{key}/gradient"]).max()
    np.testing.assert_allclose(gradient, GOLDEN[f"{key}/gradient"], atol=2e-5 * scale)


@pytest.mark.parametrize(("kind", "iterations"), settings("spectral/"))
def test_spectral_normalization_of_keras_equals_addons(kind, iterations):
    key = f"spectral/{kind}/{iterations}"
    x = GOLDEN[f"{key}/x"]
    inner = keras.layers.Conv2D(6, 3, padding="same") if kind == "conv" else keras.layers.Dense(6)
    layer = keras.layers.SpectralNormalization(inner, power_iterations=int(iterations))
    layer.build(x.shape)
    inner.kernel.assign(GOLDEN[f"{key}/kernel"])
    inner.bias.assign(GOLDEN[f"{key}/bias"])
    # The initial vector is random; that of the golden file is used.
    layer.vector_u.assign(GOLDEN[f"{key}/u"])
    for call in (1, 2, 3):
        y = keras.ops.convert_to_numpy(layer(x, training=True))
        for name, value in (
            ("kernel", inner.kernel.numpy()),
            ("u", layer.vector_u.numpy()),
            ("y", y),
        ):
            golden = GOLDEN[f"{key}/{name}{call}"]
            np.testing.assert_allclose(value, golden, rtol=1e-4, atol=2e-5, err_msg=name)
    y = keras.ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_allclose(y, GOLDEN[f"{key}/y_inference"], rtol=1e-4, atol=2e-5)


def test_spectral_convolution_of_critics_equals_addons():
    # tensorflow-addons overwrites the kernel, ours does not; the outputs are equal.
    key = "spectral/conv/1"
    x = GOLDEN[f"{key}/x"]
    layer = SpectralConv2D(6, 3, padding="same")
    layer.build(x.shape)
    layer.kernel.assign(GOLDEN[f"{key}/kernel"])
    layer.bias.assign(GOLDEN[f"{key}/bias"])
    layer.vector_u.assign(GOLDEN[f"{key}/u"])
    for call in (1, 2, 3):
        y = keras.ops.convert_to_numpy(layer(x, training=True))
        np.testing.assert_allclose(y, GOLDEN[f"{key}/y{call}"], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(
            layer.vector_u.numpy(), GOLDEN[f"{key}/u{call}"], rtol=1e-4, atol=2e-5
        )
    np.testing.assert_array_equal(layer.kernel.numpy(), GOLDEN[f"{key}/kernel"])
