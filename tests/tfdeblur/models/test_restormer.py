import numpy as np
import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.errors import ConfigError
from tfdeblur.models import restormer
from tfdeblur.models.layers import GeluGate

RNG = np.random.default_rng(0)


def test_parameter_count_equals_that_of_the_authors_code():
    generator = models.create("restormer")
    assert generator.network.count_params() == 26_126_644
    assert generator.multiple == 8


def test_attention_mixes_channels_by_their_cosines():
    heads, each = 2, 3
    layer = restormer.ChannelAttention(heads)
    features = RNG.normal(size=(2, 4, 5, 3 * heads * each)).astype(np.float32)
    layer.build(features.shape)
    layer.temperature.assign([0.5, 2.0])
    found = layer(features).numpy()
    queries, keys, values = np.split(features.reshape(2, 20, -1), 3, axis=-1)
    for image in range(2):
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            q, k, v = (x[image, :, part] for x in (queries, keys, values))
            cosines = (q / np.linalg.norm(q, axis=0)).T @ (k / np.linalg.norm(k, axis=0))
            weights = np.exp(cosines * (0.5, 2.0)[head])
            weights /= weights.sum(axis=1, keepdims=True)
            expected = (v @ weights.T).reshape(4, 5, each)
            np.testing.assert_allclose(found[image, ..., part], expected, atol=1e-5)


def test_attention_to_black_is_finite():
    layer = restormer.ChannelAttention(1)
    np.testing.assert_array_equal(layer(np.zeros((1, 4, 4, 6), np.float32)), 0)


def test_pixel_unshuffle_has_the_order_of_pytorch():
    images = RNG.random((1, 4, 6, 3), dtype=np.float32)
    found = restormer.PixelUnshuffle()(images).numpy()
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                place = 4 * channel + 2 * row + column
                expected = images[:, row::2, column::2, channel]
                np.testing.assert_array_equal(found[..., place], expected)


def test_gate_is_gelu_times_the_other_half():
    x = np.float32([[[[-1.0, 0.0, 2.0, 3.0, 5.0, 1.0]]]])
    # The normal distribution at -1 and 2.
    expected = [-0.15865525 * 3, 0.0, 2 * 0.97724987]
    np.testing.assert_allclose(GeluGate()(x)[0, 0, 0], expected, atol=1e-6)


def test_decoder_at_full_size_keeps_the_concatenated_channels():
    network = models.create("restormer", {"width": 4, "blocks": (1, 1), "heads": (1, 1)}).network
    names = [layer.name for layer in network.layers]
    assert not [name for name in names if name.startswith("join")]
    assert network.get_layer("refinement_block4_project").filters == 8
    deep = models.create("restormer", {**TINY["restormer"], "blocks": (1,) * 3, "heads": (1,) * 3})
    assert deep.network.get_layer("join1").filters == 8


def test_output_includes_the_input():
    network = models.create("restormer", TINY["restormer"]).network
    last = network.get_layer("correction")
    last.kernel.assign(np.zeros(last.kernel.shape))
    picture = RNG.random((1, 6, 10, 3), dtype=np.float32)
    np.testing.assert_array_equal(network(picture), picture)


@pytest.mark.parametrize(
    "options",
    [
        {"blocks": (1, 1)},
        {"blocks": (1,), "heads": (1,)},
        {"heads": (1, 2, 4, 5)},
        {"width": 7, "heads": (1, 1, 1, 1)},
    ],
)
def test_invalid_options_raise_config_error(options):
    with pytest.raises(ConfigError, match=r"blocks|heads|width"):
        models.create("restormer", options)
