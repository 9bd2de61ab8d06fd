import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import models

SMALL = {"width": 4, "growth": 3, "layers": 3}


@pytest.mark.parametrize(
    ("growth", "parameters"), [(16, 804_739), (32, 1_430_275), (64, 3_192_835)]
)
def test_parameter_count_equals_documentation(growth, parameters):
    network = models.create("dense_deblurgan", {"growth": growth}).network
    assert network.count_params() == parameters


def test_dense_layers_can_be_separable_too():
    network = models.create("dense_deblurgan", {"separable": "all"}).network
    depthwise = [x for x in network.layers if isinstance(x, keras.layers.DepthwiseConv2D)]
    assert len(depthwise) == 2 + 9
    kernel = network.get_layer("dense3_depthwise").kernel
    assert kernel.shape == (3, 3, 256 + 2 * 32, 1)
    assert network.get_layer("dense3_2_conv").kernel.shape == (1, 1, 256 + 2 * 32, 32)
    assert network.count_params() == 566_275
    picture = np.zeros((1, 8, 12, 3), np.float32)
    assert network(picture).shape == picture.shape


def test_dense_layers_get_all_previous_features():
    network = models.create("dense_deblurgan").network
    for index in range(1, 10):
        conv = network.get_layer(f"dense{index}_1_conv")
        assert conv.kernel_size == (3, 3)
        assert conv.kernel.shape[2:] == (256 + 32 * (index - 1), 32)
        assert network.get_layer(f"dense{index}_2_conv").kernel_size == (1, 1)
    assert network.get_layer("transition_conv").kernel.shape == (1, 1, 256 + 9 * 32, 256)


def test_downsampling_and_upsampling_are_separable():
    network = models.create("dense_deblurgan", SMALL).network
    for level in (1, 2):
        depthwise = network.get_layer(f"down{level}_depthwise")
        assert isinstance(depthwise, keras.layers.DepthwiseConv2D)
        assert depthwise.strides == (2, 2)
        assert network.get_layer(f"down{level}_conv").kernel_size == (1, 1)
    for level in (0, 1):
        for axis, kernel, strides in (("rows", (3, 1), (2, 1)), ("columns", (1, 3), (1, 2))):
            up = network.get_layer(f"up{level}_{axis}_conv")
            assert (up.kernel_size, up.strides) == (kernel, strides)


def test_skips_concatenate_features_of_equal_size():
    network = models.create("dense_deblurgan", SMALL).network
    for level, source in ((1, "down1_relu"), (0, "stem_relu")):
        inputs = network.get_layer(f"up{level}_skip").input
        names = [tensor._keras_history.operation.name for tensor in inputs]
        assert names == [source, f"up{level}_columns_relu"]


def test_output_is_clipped_sum_with_input():
    network = models.create("dense_deblurgan", SMALL).network
    last = network.get_layer("correction")
    last.kernel.assign(tf.zeros_like(last.kernel))
    last.bias.assign([0.0, 0.5, -0.5])
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 8, 12, 3)).astype(np.float32)
    expected = np.clip(picture + np.tanh(np.float32([0, 0.5, -0.5])), -1, 1)
    np.testing.assert_allclose(network(picture), expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"norm": "instance"}, {"padding": "zero"}, {"upsampling": "resize"}, {"synchronized": True}],
)
def test_network_with_other_options_runs(options):
    network = models.create("dense_deblurgan", {**SMALL, **options}).network
    assert network(np.zeros((1, 8, 4, 3), np.float32)).shape == (1, 8, 4, 3)
