import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.config import recipes
from tfdeblur.errors import ConfigError
from tfdeblur.models import layers, nafnet

SMALL = TINY["nafnet"]
PICTURE = np.random.default_rng(0).random((1, 16, 12, 3), dtype=np.float32)


def awake(options):
    """Returns a small network with nonzero scales, so that all blocks have an effect."""
    network = models.create("nafnet", options).network
    rng = np.random.default_rng(5)
    for variable in network.trainable_variables:
        if variable.name == "scale":
            variable.assign(rng.normal(0, 0.5, variable.shape))
    return network


@pytest.mark.parametrize(
    ("width", "parameters"),
    [(32, 17_111_907), pytest.param(64, 67_888_835, marks=pytest.mark.slow)],
)
def test_parameter_count_equals_documentation(width, parameters):
    generator = models.create("nafnet", {"width": width})
    assert generator.network.count_params() == parameters
    assert generator.multiple == 16


def test_network_of_the_rsblur_recipe_has_the_documented_parameters():
    options = dict(recipes.load("nafnet16_rsblur").config["model"])
    network = models.create(options.pop("name"), options).network
    assert network.count_params() == 4_347_827


def test_blocks_follow_options_at_each_scale():
    options = {"width": 2, "encoder": (1, 2), "middle": 3, "decoder": (2, 0)}
    network = models.create("nafnet", options).network
    found = [x.name.split("_")[0] for x in network.layers if x.name.endswith("_beta")]
    names = ["encoder0", "encoder1", "encoder1", *["middle"] * 3, "decoder1", "decoder1"]
    assert found == names
    assert network.get_layer("middle_block1_conv3").filters == 8


def test_scales_are_initially_zero():
    network = models.create("nafnet", SMALL).network
    scales = [v for v in network.trainable_variables if v.name == "scale"]
    assert len(scales) == 2 * 5
    assert not any(np.any(scale) for scale in scales)
    features = np.random.default_rng(0).random((1, 4, 4, 4), dtype=np.float32)
    add = network.get_layer("encoder0_block1_beta")
    np.testing.assert_array_equal(add(features, features + 1), features)
    add.scale.assign([0.0, 1.0, 2.0, -1.0])
    expected = features + (features + 1) * np.float32([0, 1, 2, -1])
    np.testing.assert_allclose(add(features, features + 1), expected, rtol=1e-6)


def test_output_includes_the_input():
    network = models.create("nafnet", SMALL).network
    ending = network.get_layer("ending")
    ending.kernel.assign(tf.zeros_like(ending.kernel))
    np.testing.assert_array_equal(network(PICTURE), PICTURE)


def test_simple_gate_multiplies_both_halves():
    x = np.random.default_rng(0).random((1, 2, 3, 6), dtype=np.float32)
    for training in (False, True):
        gated = nafnet.SimpleGate()(x, training=training)
        np.testing.assert_array_equal(gated, x[..., :3] * x[..., 3:])


def test_layer_norm_normalizes_over_channels():
    norm = models.create("nafnet", SMALL).network.get_layer("encoder0_block1_norm1")
    x = np.random.default_rng(0).normal(2, 3, (2, 3, 5, 4)).astype(np.float32)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(norm(x), expected, atol=1e-5)


def test_pool_windows_are_halved_at_each_scale():
    network = models.create("nafnet", {**SMALL, "pool_window": 7}).network
    windows = {x.name: x.window for x in network.layers if isinstance(x, layers.MeanPooling)}
    assert windows == {
        "encoder0_block1_pool": (7, 7),
        "encoder1_block1_pool": (3, 3),
        "middle_block1_pool": (1, 1),
        "decoder1_block1_pool": (3, 3),
        "decoder0_block1_pool": (7, 7),
    }
    plain = models.create("nafnet", SMALL).network
    assert [v.path for v in plain.weights] == [v.path for v in network.weights]
    assert not [x for x in plain.layers if "GlobalAverage" in type(x).__name__]


def test_pool_window_changes_larger_images_only():
    plain, local = awake(SMALL), awake({**SMALL, "pool_window": 16})
    local.set_weights(plain.get_weights())
    np.testing.assert_allclose(local(PICTURE), plain(PICTURE), atol=1e-6)
    large = np.random.default_rng(0).random((1, 48, 40, 3), dtype=np.float32)
    large[:, :, :20] *= 0.1  # dark on one side, so that means differ from place to place
    assert np.abs(local(large) - plain(large)).max() > 1e-4
    traced = tf.function(
        local, input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False
    )
    np.testing.assert_allclose(traced(large), local(large), atol=1e-5)
    np.testing.assert_allclose(traced(PICTURE), local(PICTURE), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": (1, 1), "decoder": (1,)},
        {"encoder": (1, -1), "decoder": (1, 1)},
        {"encoder": ()},
        {"pool_window": 0},
    ],
)
def test_invalid_options_raise_config_error(options):
    with pytest.raises(ConfigError, match=r"encoder|pool_window"):
        models.create("nafnet", options)
