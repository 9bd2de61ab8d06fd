import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import models
from tfdeblur.ops.precision import precision_scope

PICTURE = np.random.default_rng(0).random((1, 12, 10, 3), dtype=np.float32)


def test_parameter_count_equals_documentation():
    assert models.create("rednet30").network.count_params() == 1_080_579


@pytest.mark.parametrize("depth", [10, 20, 30])
def test_parameter_count_of_each_depth_equals_formula(depth):
    # 3x3 convolutions with bias, batch norm with four weights per channel, and the 1x1 to RGB.
    first, other, norm, last = 28 * 64, 577 * 64, 256, 65 * 3
    expected = first + (depth - 1) * other + depth * norm + last
    network = models.create("rednet30", {"depth": depth}).network
    assert network.count_params() == expected
    convolutions = [
        x for x in network.layers if isinstance(x, keras.layers.Conv2D) and x.kernel_size == (3, 3)
    ]
    assert len(convolutions) == depth
    assert all(x.strides == (1, 1) and x.padding == "same" for x in convolutions)


@pytest.mark.parametrize(("depth", "skips"), [(10, 3), (20, 5), (30, 8)])
def test_skips_are_symmetric(depth, skips):
    network = models.create("rednet30", {"depth": depth, "width": 2}).network
    half = depth // 2
    added = [x for x in network.layers if x.name.endswith("_skip")]
    assert len(added) == skips
    assert added[-1].name == f"decoder{half}_skip"  # the outermost pair is always there
    for layer in added:
        index = int(layer.name.removeprefix("decoder").removesuffix("_skip"))
        names = [tensor._keras_history.operation.name for tensor in layer.input]
        assert names == [f"decoder{index}_conv", f"encoder{half + 1 - index}_norm"]


def test_activation_is_between_convolution_and_norm():
    network = models.create("rednet30", {"depth": 10, "width": 2}).network
    source = network.get_layer("encoder3_norm").input._keras_history.operation
    assert source.name == "encoder3_elu"
    assert source.input._keras_history.operation.name == "encoder3_conv"
    assert network.get_layer("decoder5_elu").input._keras_history.operation.name == "decoder5_skip"


@pytest.mark.parametrize(
    ("output", "value_range", "function"),
    [("elu", "unit", tf.nn.elu), ("tanh", "signed", tf.math.tanh)],
)
def test_input_is_added_before_last_activation(output, value_range, function):
    generator = models.create("rednet30", {"depth": 10, "width": 2, "output": output})
    assert generator.value_range == value_range
    assert generator.multiple == 1
    last = generator.network.get_layer("to_colors")
    last.kernel.assign(tf.zeros_like(last.kernel))
    images = PICTURE * 4 - 2
    np.testing.assert_allclose(generator.network(images), function(images), atol=1e-6)


def test_bfloat16_network_keeps_the_input_exact():
    with precision_scope("mixed_bfloat16"):
        generator = models.create("rednet30", {"depth": 10, "width": 2})
    last = generator.network.get_layer("to_colors")
    last.kernel.assign(tf.zeros_like(last.kernel))
    # Rounding to eight bits of mantissa would have errors up to 2e-3.
    np.testing.assert_allclose(generator.network(PICTURE), PICTURE, atol=1e-7)
    np.testing.assert_allclose(generator.as_unit_model()(PICTURE), PICTURE, atol=1e-7)


def test_synchronized_option_reaches_the_layers():
    network = models.create("rednet30", {"depth": 10, "width": 2, "synchronized": True}).network
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 10
    assert all(norm.synchronized for norm in norms)
