"""Contract of every registered critic, and the properties of PatchGAN and its norms."""

import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import config, testing
from tfdeblur.errors import ConfigError
from tfdeblur.models import critics
from tfdeblur.models.critics.critic import Norm, SpectralConv2D
from tfdeblur.testing import critics as checks

NAMES = config.CRITICS.names()
NORMS = typing.get_args(Norm)
SMALL = {
    "patch_gan": {"layers": 2, "width": 4},
    "double_scale": {"local_layers": 1, "global_layers": 3, "width": 4},
}


@pytest.fixture(params=NAMES)
def critic(request):
    keras.utils.set_random_seed(1)
    return critics.create(request.param, SMALL.get(request.param))


def pictures(batch=2, height=32, width=32, seed=0):
    return np.random.default_rng(seed).random((batch, height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("check", testing.CRITIC_CHECKS, ids=testing.name_of)
def test_critic_fulfills(check, critic):
    check(critic)


def test_build_cites_its_source(critic):
    assert "Reference:" in config.CRITICS.load(critic.name).build.__doc__


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("conditional", [False, True])
def test_scores_with_any_norm_are_finite_float32_maps(critic, norm, conditional):
    options = {**SMALL.get(critic.name, {}), "norm": norm, "conditional": conditional}
    checks.scores_are_finite_float32_maps(critics.create(critic.name, options))


@pytest.mark.parametrize("norm", NORMS)
def test_scores_of_both_equal_separate_scores(critic, norm):
    options = {**SMALL.get(critic.name, {}), "norm": norm, "conditional": True}
    checks.scores_of_both_equal_separate_scores(critics.create(critic.name, options))


@pytest.mark.parametrize("norm", NORMS)
def test_scores_depend_on_other_examples_with_batch_norm_only(critic, norm):
    critic = critics.create(critic.name, {**SMALL.get(critic.name, {}), "norm": norm})
    assert critic.mixes_examples == (norm == "batch")
    checks.scores_depend_on_other_images_if_declared(critic)


@pytest.mark.parametrize("norm", NORMS)
def test_critic_can_be_differentiated_twice(norm):
    # `test_layers` shows that Keras's own layers cannot, under TensorFlow.
    network = critics.create("patch_gan", {"width": 2, "norm": norm}).network
    once = {keras.layers.LayerNormalization, keras.layers.GroupNormalization}
    assert not once & {type(layer) for layer in network.layers}


def test_default_patch_gan_equals_that_of_the_study():
    # Orlandi and Pinardi: layer norm over channels, 2,766,657 parameters, 4x4 scores at 32x32.
    critic = critics.create("patch_gan")
    assert critic.network.count_params() == 2_766_657
    assert [tuple(s.shape) for s in critic.scores(pictures(1), pictures(1))] == [(1, 4, 4, 1)]
    norms = [x for x in critic.network.layers if isinstance(x, keras.layers.LayerNormalization)]
    assert len(norms) == 4
    assert all(tuple(np.atleast_1d(norm.axis)) in ((-1,), (3,)) for norm in norms)


def test_leaky_relus_of_default_patch_gan_have_slope_0_2():
    layers = critics.create("patch_gan").network.layers
    slopes = [x.negative_slope for x in layers if isinstance(x, keras.layers.LeakyReLU)]
    assert slopes == [0.2] * 4


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # Isola et al.: no norm after the first convolution; batch norm has 4 weights per channel.
        ({"norm": "instance", "norm_first": False}, 2_766_657 - 128),
        ({"norm": "batch", "norm_first": False}, 2_766_657 - 128 + 2 * (128 + 256 + 512)),
        ({"norm": "none"}, 2_766_657 - 2 * (64 + 128 + 256 + 512)),
        ({"norm": "none", "conditional": True}, 2_766_657 - 1920 + 16 * 3 * 64),
    ],
)
def test_patch_gan_with_other_norms_has_expected_parameters(options, parameters):
    assert critics.create("patch_gan", options).network.count_params() == parameters


def test_layer_all_normalizes_over_height_width_and_channels():
    critic = critics.create("patch_gan", {"layers": 1, "width": 4, "norm": "layer_all"})
    norm = critic.network.get_layer("block1_norm")
    values = pictures(2, 6, 7)
    values = np.concatenate([values, values[..., :1] * 3], axis=-1)
    x = values.astype("float64")
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(
        x.var((1, 2, 3), keepdims=True) + 1e-5
    )
    np.testing.assert_allclose(norm(values), expected, atol=1e-5)


def test_spectral_convolution_divides_by_largest_singular_value():
    keras.utils.set_random_seed(3)
    layer = SpectralConv2D(5, 4, use_bias=False)
    images = pictures()
    for _ in range(100):
        outputs = layer(images, training=True)
    kernel = layer.kernel.numpy().astype("float64")
    largest = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    plain = keras.layers.Conv2D(5, 4, use_bias=False)
    plain.build(images.shape)
    plain.kernel.assign(kernel / largest)
    np.testing.assert_allclose(outputs, plain(images), atol=1e-5)
    # The kernel itself is unchanged.
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel.astype("float32"))
    vector = layer.vector_u.numpy()
    layer(images, training=False)
    np.testing.assert_array_equal(layer.vector_u.numpy(), vector)


def test_spectral_convolution_gradient_includes_the_norm():
    keras.utils.set_random_seed(3)
    layer = SpectralConv2D(5, 4, use_bias=False)
    images = pictures()
    for _ in range(100):
        layer(images, training=True)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(images) ** 2)
    gradient = tape.gradient(value, layer.trainable_variables)[0]
    # Scaling the kernel does not change the output, so the gradient is orthogonal to the kernel.
    along = tf.reduce_sum(gradient * layer.kernel.value)
    assert abs(float(along)) < 1e-3 * float(tf.linalg.norm(gradient) * tf.norm(layer.kernel.value))


def test_unknown_critic_or_option_raises_config_error():
    with pytest.raises(ConfigError, match="patch_gan"):
        critics.create("patchgan")
    with pytest.raises(ConfigError, match="layers"):
        critics.create("patch_gan", {"layer": 3})
    with pytest.raises(ConfigError, match="norm"):
        critics.create("patch_gan", {"norm": "group"})


def test_residual_block_adds_a_pointwise_convolution_of_its_input():
    options = {"width": 4, "layers": 2, "norm": "none", "norm_first": False}
    plain = critics.create("patch_gan", options).network
    network = critics.create("patch_gan", {**options, "residual": True}).network
    assert network.count_params() - plain.count_params() == (3 + 1) * 4 + (4 + 1) * 8 + (8 + 1) * 16
    x = pictures(height=15, width=18)
    for index, stride in ((1, 2), (2, 2), (3, 1)):
        name = f"block{index}"
        into = network.get_layer(f"{name}_conv").input
        parts = [into, network.get_layer(f"{name}_relu").output]
        before, inner, after = keras.Model(
            network.input, [*parts, network.get_layer(f"{name}_add").output]
        )(x)
        shortcut = network.get_layer(f"{name}_shortcut")
        added = before[:, ::stride, ::stride] @ shortcut.kernel[0, 0] + shortcut.bias
        np.testing.assert_allclose(after, inner + added, atol=1e-5)
