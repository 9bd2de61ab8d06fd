import keras
import numpy as np
import pytest

from tfdeblur import models

SMALL = {"blocks": 1, "width": 4, "stem": 1}
PICTURE = np.random.default_rng(0).uniform(-1, 1, (1, 16, 12, 3)).astype(np.float32)


@pytest.mark.parametrize(("stem", "parameters"), [(61, 11_943_553), (64, 11_953_609)])
def test_parameter_count_equals_documentation(stem, parameters):
    assert models.create("ms_deblur", {"stem": stem}).network.count_params() == parameters


@pytest.mark.parametrize("scales", [1, 2, 3, 4])
def test_outputs_have_one_per_scale_finest_first(scales):
    generator = models.create("ms_deblur", {**SMALL, "scales": scales})
    assert generator.multiple == 2 ** (scales - 1)
    outputs = generator.network(np.zeros((1, 16, 24, 3), np.float32))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sizes = [(1, 16 >> level, 24 >> level, 3) for level in range(scales)]
    assert [tuple(output.shape) for output in outputs] == sizes


def test_input_pyramid_is_averages():
    network = models.create("ms_deblur", SMALL).network
    inner = keras.Model(network.input, [network.get_layer(f"blurred{k}").output for k in (1, 2)])
    half, quarter = inner(PICTURE)
    np.testing.assert_allclose(half, PICTURE.reshape(1, 8, 2, 6, 2, 3).mean((2, 4)), atol=1e-6)
    np.testing.assert_allclose(quarter, PICTURE.reshape(1, 4, 4, 3, 4, 3).mean((2, 4)), atol=1e-6)


def test_coarser_output_is_concatenated_with_finer_input():
    network = models.create("ms_deblur", SMALL).network
    for scale, image in ((1, "blurred1"), (0, "blurred")):
        names = [
            t._keras_history.operation.name for t in network.get_layer(f"scale{scale}_join").input
        ]
        assert names == [image, f"scale{scale}_up"]
        source = network.get_layer(f"scale{scale}_up").input._keras_history.operation
        assert source.name == f"restored{scale + 1}"


def test_block_output_is_sum_and_last_activation_is_tanh():
    generator = models.create("ms_deblur", {**SMALL, "blocks": 2})
    assert generator.value_range == "signed"
    network = generator.network
    after = [n.operation.name for n in network.get_layer("scale2_block1_add")._outbound_nodes]
    assert sorted(after) == ["scale2_block2_1_conv", "scale2_block2_add"]
    network.get_layer("restored0").bias.assign([50.0, 0.0, -50.0])
    finest = network(PICTURE)[0]
    np.testing.assert_allclose(finest[..., 0], 1)
    np.testing.assert_allclose(finest[..., 2], -1)


def test_synchronized_option_reaches_the_layers():
    network = models.create("ms_deblur", {**SMALL, "synchronized": True}).network
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 6
    assert all(norm.synchronized for norm in norms)
