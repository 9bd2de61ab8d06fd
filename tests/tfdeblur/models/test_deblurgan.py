import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import models
from tfdeblur.models import blocks
from tfdeblur.training.engines.tensorflow import runtime

SMALL = {"blocks": 2, "width": 4}
PICTURE = np.random.default_rng(0).uniform(-1, 1, (1, 16, 12, 3)).astype(np.float32)


def trainable(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(
    ("options", "learned", "everything"),
    [
        ({}, 11_383_427, 11_393_923),
        ({"norm": "instance"}, 11_378_179, 11_378_179),
        ({"norm": "instance", "convolutions": 1}, 6_067_459, 6_067_459),
        ({"blocks": 6}, 7_841_411, 7_848_835),
        ({"upsampling": "resize", "padding": "zero"}, 11_383_427, 11_393_923),
    ],
)
def test_parameter_count_equals_documentation(options, learned, everything):
    network = models.create("deblurgan", options).network
    assert trainable(network) == learned
    assert network.count_params() == everything


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_blocks_have_both_convolutions_with_and_without_dropout(rate, norm):
    # Well-known code omits the second one if dropout is on.
    network = models.create("deblurgan", {**SMALL, "dropout": rate, "norm": norm}).network
    for index in (1, 2):
        name = f"block{index}"
        order, tensor = [], network.get_layer(f"{name}_add").input[1]
        while (layer := tensor._keras_history.operation).name.startswith(f"{name}_"):
            order.insert(0, layer.name.removeprefix(f"{name}_"))
            tensor = layer.input
        assert order == [
            *("1_conv_pad", "1_conv", "1_norm", "relu", "dropout"),
            *("2_conv_pad", "2_conv", "2_norm"),
        ]
        assert tensor is network.get_layer(f"{name}_add").input[0]  # the block's input
        assert network.get_layer(f"{name}_dropout").rate == rate


@pytest.mark.parametrize(("rate", "end"), [(0.0, []), (0.5, ["relu", "dropout"])])
def test_blocks_of_one_convolution_are_those_of_the_present_code(rate, end):
    options = {**SMALL, "blocks": 1, "convolutions": 1, "dropout": rate}
    network = models.create("deblurgan", options).network
    found = [x.name for x in network.layers if x.name.startswith("block1_")]
    assert found == [f"block1_{x}" for x in ("1_conv_pad", "1_conv", "1_norm", *end, "add")]
    assert network.get_layer("block1_add").input[1] is network.get_layer(found[-2]).output


def test_layers_have_channels_of_the_paper():
    network = models.create("deblurgan", {"blocks": 1}).network
    shapes = {"stem": 64, "down1": 128, "down2": 256, "block1_1": 256, "up1": 128, "up0": 64}
    for name, channels in shapes.items():
        assert network.get_layer(f"{name}_norm").output.shape[-1] == channels
    assert network.get_layer("stem_conv").kernel_size == (7, 7)
    assert network.get_layer("correction").kernel_size == (7, 7)
    assert network.get_layer("down1_conv").strides == (2, 2)


def test_output_is_clipped_sum_with_input():
    network = models.create("deblurgan", SMALL).network
    last = network.get_layer("correction")
    last.kernel.assign(tf.zeros_like(last.kernel))
    last.bias.assign([0.0, 0.5, -0.5])
    expected = np.clip(PICTURE + np.tanh(np.float32([0, 0.5, -0.5])), -1, 1)
    assert np.abs(PICTURE).max() > 1 - np.tanh(0.5)  # some of it is clipped
    np.testing.assert_allclose(network(PICTURE), expected, atol=1e-6)


def test_output_without_residual_is_tanh():
    corrected = models.create("deblurgan", SMALL).network
    plain = models.create("deblurgan", {**SMALL, "residual": False}).network
    plain.set_weights(corrected.get_weights())
    summed = np.clip(PICTURE + plain(PICTURE), -1, 1)
    np.testing.assert_allclose(corrected(PICTURE), summed, atol=1e-6)


def test_epsilon_applies_to_batch_norm_only():
    options = {**SMALL, "epsilon": 1e-5}
    for norm in ("batch", "instance"):
        network = models.create("deblurgan", {**options, "norm": norm}).network
        assert {x.epsilon for x in network.layers if x.name.endswith("_norm")} == {1e-5}
    assert models.create("deblurgan", SMALL).network.get_layer("stem_norm").epsilon == 1e-3


def test_instance_norm_normalizes_each_image_separately():
    generator = models.create("deblurgan", {**SMALL, "norm": "instance"})
    norms = [x for x in generator.network.layers if x.name.endswith("_norm")]
    assert not any(norm.weights for norm in norms)
    pair = np.concatenate([PICTURE, -PICTURE])
    together = generator.network(pair, training=False)[:1]
    np.testing.assert_allclose(together, generator.network(PICTURE), atol=1e-5)
    features = norms[0](np.random.default_rng(0).normal(3, 2, (2, 8, 8, 4)).astype(np.float32))
    np.testing.assert_allclose(np.mean(features, axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(features, axis=(1, 2)), 1, atol=1e-3)


def test_dropout_is_active_in_training_only_and_follows_the_seed():
    def outputs(seed):
        keras.utils.set_random_seed(seed)
        network = models.create("deblurgan", {**SMALL, "norm": "instance"}).network
        return [network(PICTURE, training=mode).numpy() for mode in (True, True, False, False)]

    first, second, still, again = outputs(5)
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_array_equal(still, again)
    np.testing.assert_array_equal(outputs(5)[0], first)


def test_dropout_on_two_replicas_runs():
    # The state of its seed generator is updated inside the replicas, which not all variables allow.
    strategy = runtime.make_strategy("mirrored")
    with strategy.scope():
        network = models.create("deblurgan", {**SMALL, "norm": "instance"}).network

    @tf.function(autograph=False)
    def run():
        return strategy.run(lambda: network(tf.constant(PICTURE), training=True))

    def steps():
        return [strategy.experimental_local_results(run())[0].numpy() for _ in range(2)]

    first, second = steps()
    assert np.abs(first - second).max() > 1e-4


def test_padding_and_synchronized_options_reach_the_layers():
    reflected = models.create("deblurgan", SMALL).network
    zero = models.create("deblurgan", {**SMALL, "padding": "zero", "synchronized": True}).network
    zero.set_weights(reflected.get_weights())
    assert not [x for x in zero.layers if x.name.startswith("block") and x.name.endswith("_pad")]
    assert np.abs(zero(PICTURE) - reflected(PICTURE)).max() > 1e-3
    assert all(x.synchronized for x in zero.layers if x.name.endswith("_norm"))


# ------------------------------------------------------------ the geometry of PyTorch's operations


def torch_transposed(x, kernel, rows, columns):
    """Stride 2, padding 1, output padding 1 along the given axes: every input adds its kernel."""
    height, width = x.shape[1:3]
    canvas = np.zeros((1, 2 * height + 4, 2 * width + 4, kernel.shape[2]))
    for i in range(height):
        for j in range(width):
            top, left = (2 * i + 1 if rows else i + 2), (2 * j + 1 if columns else j + 2)
            patch = np.einsum("hwoc,c->hwo", kernel, x[0, i, j])
            canvas[0, top : top + kernel.shape[0], left : left + kernel.shape[1]] += patch
    return canvas[:, 2 : 2 + height * (1 + rows), 2 : 2 + width * (1 + columns)]


@pytest.mark.parametrize("kernel", [(3, 3), (3, 1), (1, 3)])
def test_transposed_convolution_has_geometry_of_pytorch(kernel):
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, blocks.double(inputs, 3, kernel=kernel, name="up"))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(*kernel, 3, 2))
    model.get_layer("up").kernel.assign(weights)
    x = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    expected = torch_transposed(x, weights, rows=kernel[0] == 3, columns=kernel[1] == 3)
    np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_strided_convolution_is_padded_on_every_side():
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, blocks.halve(inputs, 1, name="down"))
    model.get_layer("down").kernel.assign(np.arange(9.0).reshape(3, 3, 1, 1))
    x = np.random.default_rng(0).random((1, 6, 8, 1), dtype=np.float32)
    padded = np.pad(x[0, :, :, 0], 1)
    weights = np.arange(9.0).reshape(3, 3)
    expected = [
        [(padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * weights).sum() for j in range(4)]
        for i in range(3)
    ]
    np.testing.assert_allclose(model(x)[0, :, :, 0], expected, rtol=1e-5)


def test_upsampling_by_resizing_has_no_checkerboard():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, blocks.double(inputs, 1, upsampling="resize", name="up"))
    flat = model(np.ones((1, 6, 6, 2), np.float32)).numpy()
    assert flat.shape == (1, 12, 12, 1)
    inside = flat[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, np.full_like(inside, inside[0, 0, 0, 0]), atol=1e-6)
