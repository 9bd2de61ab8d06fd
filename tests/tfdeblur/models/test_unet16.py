import keras
import numpy as np

from tfdeblur import models


def test_parameter_count_equals_documentation():
    assert models.create("unet16").network.count_params() == 482_067


def test_scales_have_two_convolutions_each():
    network = models.create("unet16").network
    for level, channels in enumerate((16, 32, 64, 128)):
        for side in ("down", "up") if level < 3 else ("down",):
            for index in (1, 2):
                layer = network.get_layer(f"{side}{level}_conv{index}")
                assert layer.filters == channels
                assert layer.activation is keras.activations.relu
    pools = [x for x in network.layers if isinstance(x, keras.layers.MaxPooling2D)]
    assert len(pools) == 3
    assert not [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]


def test_skips_concatenate_features_of_the_same_scale():
    network = models.create("unet16", {"width": 2}).network
    for level in range(3):
        inputs = network.get_layer(f"up{level}_skip").input
        names = [tensor._keras_history.operation.name for tensor in inputs]
        assert names == [f"down{level}_conv2", f"up{level}_transposed"]


def test_output_is_linear():
    network = models.create("unet16", {"width": 2}).network
    images = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    before = network(images).numpy()
    network.get_layer("restored").bias.assign([-5.0, 0.0, 5.0])
    np.testing.assert_allclose(
        network(images) - before, np.full_like(before, [-5, 0, 5]), atol=1e-5
    )


def test_residual_option_adds_the_input_exactly():
    generator = models.create("unet16", {"width": 2, "residual": True})
    correction = generator.network.get_layer("correction")
    correction.kernel.assign(np.zeros(correction.kernel.shape, "float32"))
    correction.bias.assign([0.5, 0.0, -0.5])
    images = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    expected = images + np.float32([0.5, 0, -0.5])
    np.testing.assert_allclose(generator.network(images), expected, atol=1e-7)
    plain = models.create("unet16", {"width": 2}).network
    assert generator.network.count_params() == plain.count_params()
