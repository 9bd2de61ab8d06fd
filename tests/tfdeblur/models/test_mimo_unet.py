import keras
import numpy as np
import pytest

from tfdeblur import models

SMALL = {"blocks": 1, "width": 8}
PICTURE = np.random.default_rng(0).random((1, 16, 12, 3), dtype=np.float32)

# Parts, millions of parameters in the paper's ablation, and the exact count here.
ABLATION = [
    (set(), 6.46, 6_468_707),
    ({"mise"}, 6.72, 6_734_205),
    ({"mosd"}, 6.47, 6_473_897),
    ({"aff"}, 6.54, 6_536_483),
    ({"mise", "mosd"}, 6.73, 6_739_395),
    ({"mosd", "aff"}, 6.54, 6_541_673),
    ({"mise", "aff"}, 6.80, 6_801_981),
    ({"mise", "mosd", "aff"}, 6.81, 6_807_171),
]


def names_into(network, layer):
    inputs = network.get_layer(layer).input
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return [tensor._keras_history.operation.name for tensor in inputs]


@pytest.mark.parametrize(("parts", "millions", "parameters"), ABLATION)
def test_parameter_count_equals_ablation_of_the_paper(parts, millions, parameters):
    options = {part: part in parts for part in ("mise", "mosd", "aff")}
    network = models.create("mimo_unet", options).network
    assert network.count_params() == parameters
    assert parameters / 1e6 == pytest.approx(millions, abs=0.015)
    assert len(network.outputs) == (3 if "mosd" in parts else 1)


def test_parameter_count_of_plus_equals_documentation():
    network = models.create("mimo_unet", {"plus": True}).network
    assert network.count_params() == 16_107_651
    assert network.get_layer("skip0_dropout").rate == 0.1
    assert network.get_layer("skip1_dropout").noise_shape == (None, 1, 1, None)


def test_outputs_add_image_of_even_pixels():
    network = models.create("mimo_unet", SMALL).network
    for level in range(3):
        last = network.get_layer(f"correction{level}_conv")
        last.kernel.assign(np.zeros(last.kernel.shape))
    for level, output in enumerate(network(PICTURE)):
        step = 2**level
        np.testing.assert_array_equal(output, PICTURE[:, ::step, ::step])


@pytest.mark.parametrize("value_range", ["unit", "signed"])
def test_value_range_is_declared_and_keeps_the_weights(value_range):
    generator = models.create("mimo_unet", {**SMALL, "value_range": value_range})
    assert generator.value_range == value_range
    for level in range(3):
        last = generator.network.get_layer(f"correction{level}_conv")
        last.kernel.assign(np.zeros(last.kernel.shape))
    np.testing.assert_allclose(generator.as_unit_model()(PICTURE), PICTURE, atol=1e-6)


def test_single_output_is_finest():
    network = models.create("mimo_unet", {**SMALL, "mosd": False}).network
    assert network(PICTURE).shape == PICTURE.shape
    assert not [x for x in network.layers if x.name.startswith(("correction1", "correction2"))]


def test_encoder_gets_downsampled_images():
    network = models.create("mimo_unet", SMALL).network
    for level in (1, 2):
        image = keras.Model(network.input, network.get_layer(f"shallow{level}_1_conv").input)
        np.testing.assert_array_equal(image(PICTURE), PICTURE[:, :: 2**level, :: 2**level])
        product = names_into(network, f"attention{level}_product")
        assert product == [f"down{level}_conv", f"shallow{level}_5_conv"]
        added = names_into(network, f"attention{level}_add")
        assert added == [f"down{level}_conv", f"attention{level}_conv"]
    plain = models.create("mimo_unet", {**SMALL, "mise": False}).network
    assert not [x for x in plain.layers if x.name.startswith(("shallow", "attention"))]


def test_fusion_gets_encoder_features_of_all_scales():
    network = models.create("mimo_unet", SMALL).network
    encoded = [f"encoder{level}_block1_add" for level in range(3)]
    assert names_into(network, "fusion0_join") == [encoded[0], "fusion0_up1", "fusion0_up2"]
    assert names_into(network, "fusion1_join")[1:] == [encoded[1], "fusion1_up2"]
    assert network.get_layer("fusion0_up2").size == (4, 4)
    assert names_into(network, "join0") == ["up0_conv", "fusion0_2_conv"]
    plain = models.create("mimo_unet", {**SMALL, "aff": False}).network
    assert names_into(plain, "join0") == ["up0_conv", encoded[0]]
    assert names_into(plain, "join1") == ["up1_conv", encoded[1]]


def test_resized_features_equal_pytorch():
    network = models.create("mimo_unet", SMALL).network
    x = np.random.default_rng(1).random((1, 4, 6, 2), dtype=np.float32)
    repeated = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(network.get_layer("fusion1_up2")(x), repeated)
    halved = network.get_layer("fusion1_join").input[0]
    whole = network.get_layer("encoder0_block1_add").output
    halved, whole = keras.Model(network.input, [halved, whole])(PICTURE)
    np.testing.assert_array_equal(halved, whole[:, ::2, ::2])


def test_transposed_convolution_has_geometry_of_pytorch():
    # Kernel 4, stride 2, padding 1: input i contributes to outputs 2i - 1 to 2i + 2.
    layer = models.create("mimo_unet", SMALL).network.get_layer("up0_conv")
    layer.kernel.assign(np.ones(layer.kernel.shape))
    for row, column in ((0, 0), (2, 1)):
        x = np.zeros((1, 4, 4, layer.kernel.shape[3]), np.float32)
        x[0, row, column, 0] = 1
        reached = np.argwhere(layer(x).numpy()[0, :, :, 0])
        rows, columns = (np.unique(reached[:, axis]) for axis in (0, 1))
        assert rows.tolist() == [i for i in range(2 * row - 1, 2 * row + 3) if i >= 0]
        assert columns.tolist() == [j for j in range(2 * column - 1, 2 * column + 3) if j >= 0]


def test_block_output_is_sum_without_activation():
    network = models.create("mimo_unet", SMALL).network
    assert names_into(network, "encoder0_block1_add") == ["encoder0_block1_2_conv", "stem_conv"]
    assert network.get_layer("encoder0_block1_1_conv").activation is keras.activations.relu
    assert network.get_layer("encoder0_block1_2_conv").activation is keras.activations.linear
