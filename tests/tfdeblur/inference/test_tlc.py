"""Test-time local conversion (TLC): the chosen window, and the fallback when it fails."""

import keras
import numpy as np
import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import models
from tfdeblur.errors import ConfigError, UserError
from tfdeblur.inference import tlc
from tfdeblur.inference.restorer import Restorer
from tfdeblur.io import files


@pytest.fixture
def nafnet():
    return models.create("nafnet", TINY["nafnet"])


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in a run trained on crops of 40x32."""
    folder = str(tmp_path / "run/checkpoints/000000000008")
    files.make_dirs(folder)
    files.write_text(str(tmp_path / "run/config.yaml"), "data:\n  crop: 40x32\n")
    return folder


def window_of(generator):
    return generator.options["pool_window"]


def test_convert_auto_derives_the_window_from_training_crops(nafnet, checkpoint):
    local = tlc.convert(nafnet, "auto", checkpoint)
    assert window_of(local) == 60
    for ours, theirs in zip(local.network.get_weights(), nafnet.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_config_of_a_run_and_of_its_checkpoint_is_the_same(checkpoint):
    run = checkpoint.removesuffix("/checkpoints/000000000008")
    assert tlc.config_of(run) == tlc.config_of(checkpoint) == f"{run}/config.yaml"
    assert tlc.config_of(f"{run}/other") is None


def test_convert_with_explicit_windows_off_and_none(nafnet, checkpoint, tmp_path):
    assert window_of(tlc.convert(nafnet, 24, checkpoint)) == 24
    own = models.create("nafnet", {**TINY["nafnet"], "pool_window": 16})
    assert window_of(tlc.convert(own, "off", checkpoint)) is None
    for same in (
        tlc.convert(own, "auto", checkpoint) is own,
        tlc.convert(nafnet, None, checkpoint) is nafnet,
        tlc.convert(nafnet, "off", checkpoint) is nafnet,
        tlc.convert(nafnet, "auto", str(tmp_path)) is nafnet,
    ):
        assert same


def test_convert_of_a_network_without_pooling_returns_it_or_raises(checkpoint):
    generator = models.create("unet16", TINY["unet16"])
    assert tlc.convert(generator, "auto", checkpoint) is generator
    with pytest.raises(UserError, match="unet16"):
        tlc.convert(generator, 32, checkpoint)


@pytest.mark.parametrize("shape", [(32, 64), (70, 45), (100, 333)])
def test_color_artifacts_of_a_single_block_are_detected(shape):
    random = np.random.default_rng(0)
    image = random.random((*shape, 3), np.float32)
    assert not tlc.has_color_artifacts(image, image)
    assert not tlc.has_color_artifacts(
        image * 0.5, image
    )  # brighter, but of nearly the same colors
    assert not tlc.has_color_artifacts(image, np.clip(image + 0.4, 0, 1))
    colored = image.copy()
    colored[:32, :32, 0] = 1.0
    colored[:32, :32, 1] = 0.0
    assert tlc.has_color_artifacts(image, colored)


def test_color_artifacts_of_an_image_smaller_than_a_block_are_none():
    assert not tlc.has_color_artifacts(np.zeros((31, 50, 3)), np.ones((31, 50, 3)) * [1, 0, 0])


def tinted(strength):
    """A network that adds red."""
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Rescaling(1.0, [strength, 0.0, 0.0])(images))


def test_deblur_with_color_artifacts_falls_back_to_the_plain_network(capsys):
    plain = Restorer(lambda images: images * 0.5)
    tinting = Restorer(tinted(0.7), plain=plain)
    image = np.full((40, 50, 3), 0.2, np.float32)
    np.testing.assert_allclose(tinting.deblur(image), image * 0.5, atol=1e-6)
    assert "50x40" in capsys.readouterr().out
    intact = Restorer(tinted(0.1), plain=plain)
    np.testing.assert_allclose(intact.deblur(image), image + np.float32([0.1, 0, 0]), atol=1e-6)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("text", ["data: []", "data: {crop: []}", "data: {crop: x}", "[" * 200_000])
def test_window_of_a_run_with_a_damaged_configuration_names_it(tmp_path, text):
    path = str(tmp_path / "config.yaml")
    files.write_text(path, text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        tlc.patch_side(path)
