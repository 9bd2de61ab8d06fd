import h5py
import keras
import numpy as np
import pytest

from tfdeblur import models
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.models import fpn_mobilenet

SMALL = {"width": 4, "backbone_weights": "random"}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def published():
    """Keras's network with weights that are not those of a new one."""
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    for weight in network.weights:
        noise = RNG.normal(0, 0.1, weight.shape)
        weight.assign(np.exp(noise) if weight.name == "moving_variance" else weight + noise)
    return network


def test_parameter_count_is_that_of_the_authors_code_without_unused_blocks():
    generator = models.create("fpn_mobilenet")
    # That code has 3,312,707, with 1,206,080 in the last three parts of MobileNetV2.
    assert generator.network.count_params() == 3_312_707 - 1_206_080
    assert generator.multiple == 32
    trained = {id(variable) for variable in generator.network.trainable_variables}
    assert len(generator.backbone.variables) == 135
    assert all(id(variable) in trained for variable in generator.backbone.variables)


def test_output_is_the_clipped_sum_of_input_and_correction():
    network = models.create("fpn_mobilenet", SMALL).network
    last = network.get_layer("correction")
    last.kernel.assign(np.zeros(last.kernel.shape))
    images = RNG.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(network(images), images)
    last.bias.assign(np.full(3, 0.5))
    expected = np.clip(images + np.tanh(0.5), -1, 1)
    np.testing.assert_allclose(network(images), expected, atol=1e-6)


def test_image_is_restored_alike_alone_and_in_a_batch_in_training_and_after():
    network = models.create("fpn_mobilenet", SMALL).network
    images = RNG.uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    alone = network(images[:1], training=False)
    np.testing.assert_allclose(network(images, training=True)[:1], alone, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved.weights.h5", "saved.h5"])
def test_weights_of_a_file_give_the_features_of_kerass_network(name, published, tmp_path):
    saved, path = tmp_path / name, str(tmp_path / "backbone")
    published.save_weights(saved) if name.endswith(".weights.h5") else published.save(saved)
    saved.rename(path)  # the format shows in the content
    options = {"width": 4, "norm": "batch", "backbone_weights": path}
    generator = models.create("fpn_mobilenet", options)
    before = generator.network.get_layer("lateral0").get_weights()
    generator.backbone.load()
    images = RNG.uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    layers = ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_9_add")
    for level, layer in enumerate((*layers, "block_14_add")):
        source = generator.network.get_layer(f"lateral{level}").input
        found = keras.Model(generator.network.input, source)(images)
        expected = keras.Model(published.input, published.get_layer(layer).output)(images)
        assert found.shape[1:3] == (32 >> level, 48 >> level)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
    np.testing.assert_array_equal(generator.network.get_layer("lateral0").get_weights(), before)


def test_file_that_is_missing_damaged_or_of_another_network_raises(published, tmp_path):
    path = tmp_path / "backbone.h5"
    generator = models.create("fpn_mobilenet", {"width": 4, "backbone_weights": str(path)})
    before = generator.network.get_weights()
    with pytest.raises(UserError, match=str(path)):
        generator.backbone.load()
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=str(path)):
        generator.backbone.load()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(DataError, match=str(path)):
        generator.backbone.load()
    published.save(path)
    with h5py.File(path, "a") as file:
        file["model_weights/block_14_project_BN/block_14_project_BN/beta"][0] = np.nan
    with pytest.raises(DataError, match=str(path)):
        generator.backbone.load()
    for value, weight in zip(before, generator.network.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)  # all or none


def test_download_that_fails_names_the_option(monkeypatch):
    def fail(**options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(fpn_mobilenet.keras.applications, "MobileNetV2", fail)
    with pytest.raises(ConfigError, match=r"model\.backbone_weights"):
        models.create("fpn_mobilenet", {"width": 4}).backbone.load()


def test_backbone_of_pytorch_has_no_published_weights():
    with pytest.raises(ConfigError, match=r"model\.backbone\b"):
        models.create("fpn_mobilenet", {"width": 4, "backbone": "pytorch"}).backbone.load()


def test_random_backbone_is_an_ordinary_part_of_the_network():
    assert models.create("fpn_mobilenet", SMALL).backbone is None
