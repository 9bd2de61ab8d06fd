import keras
import numpy as np
import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.errors import ConfigError
from tfdeblur.models import fpn_inception

SMALL = {**TINY["fpn_inception"], "norm": "instance"}
RNG = np.random.default_rng(0)


def test_parameter_count_is_that_of_the_authors_code_without_unused_blocks():
    generator = models.create("fpn_inception")
    # That code has 60,929,291. Unused are ten blocks at H/32, a convolution, and the classifier.
    unused = 18_318_816 + 2_035_424 + 3_197_952 + 1_537_000
    assert generator.network.count_params() == 60_929_291 - unused
    assert generator.multiple == 32
    trained = {id(variable) for variable in generator.network.trainable_variables}
    # 163 convolutions with scales and offsets, and 30 with a bias.
    assert len(generator.backbone.variables) == 3 * 163 + 2 * 30
    assert all(id(variable) in trained for variable in generator.backbone.variables)


@pytest.mark.parametrize("width", [2, 32])
def test_width_of_the_backbone_scales_all_its_channels(width):
    network = models.create("fpn_inception", {**SMALL, "backbone_width": width}).network
    found = [network.get_layer(f"lateral{level}").input.shape[-1] for level in range(5)]
    assert found == [channels * width // 32 for channels in (32, 64, 192, 1088, 2080)]


@pytest.mark.parametrize("size", [(64, 96), (32, 160)])
def test_image_below_128_pixels_is_restored_as_part_of_a_mirrored_one(size):
    network = models.create("fpn_inception", SMALL).network
    images = RNG.uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    border = [(0, max(0, 128 - side)) for side in size]
    large = np.pad(images, ((0, 0), *border, (0, 0)), mode="reflect")
    expected = network(large)[:, : size[0], : size[1]]
    np.testing.assert_array_equal(network(images), expected)


@pytest.mark.slow
def test_weights_of_a_file_give_the_features_of_kerass_network(tmp_path):
    published = keras.applications.InceptionResNetV2(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    for weight in published.weights:
        noise = RNG.normal(0, 0.1, weight.shape)
        weight.assign(np.exp(noise) if weight.name == "moving_variance" else weight + noise)
    path = str(tmp_path / "backbone.h5")
    published.save(path)
    options = {"width": 4, "norm": "batch", "backbone_weights": path}
    generator = models.create("fpn_inception", options)
    generator.backbone.load()
    images = RNG.uniform(-1, 1, (1, 128, 160, 3)).astype(np.float32)
    named = [published.get_layer(name) for name in ("mixed_6a", "mixed_7a")]
    pools = fpn_inception._numbered(published, "max_pooling2d")[:2]
    first = fpn_inception._numbered(published, "activation")[:1]
    for level, layer in enumerate((*first, *pools, *named)):
        source = generator.network.get_layer(f"lateral{level}").input
        found = keras.Model(generator.network.input, source)(images)
        expected = keras.Model(published.input, layer.output)(images)
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
    # Instance norm takes the offsets, and scales of one.
    generator = models.create("fpn_inception", {**options, "norm": "instance"})
    for variable in generator.backbone.variables:
        variable.assign(np.full(variable.shape, 7.0))
    generator.backbone.load()
    norm = generator.network.get_layer("mixed_7a_branch2_conv2_norm")
    np.testing.assert_array_equal(norm.gamma, np.ones(320))
    offsets = fpn_inception._numbered(published, "batch_normalization")[162].beta
    np.testing.assert_array_equal(norm.beta, offsets)
    assert not any(np.any(np.asarray(v) == 7.0) for v in generator.backbone.variables)


@pytest.mark.parametrize("option", [{"backbone_width": 16}, {"backbone_blocks": (10, 1)}])
def test_backbone_of_another_size_has_no_published_weights(option):
    options = {"width": 4, "backbone_width": 32, "backbone_blocks": (1, 1), **option}
    with pytest.raises(ConfigError, match=r"model\.backbone_width"):
        models.create("fpn_inception", options).backbone.load()


def test_random_backbone_is_an_ordinary_part_of_the_network():
    assert models.create("fpn_inception", SMALL).backbone is None
