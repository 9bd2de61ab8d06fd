"""Keras's global settings have no effect on loading, restoring and exporting."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdeblur
from tfdeblur import export, models
from tfdeblur.checkpoints.weights import load_generator
from tfdeblur.config import settings
from tfdeblur.exporting.saved_model import load_saved_model
from tfdeblur.models.keras_settings import standard_settings
from tfdeblur.ops.precision import POLICIES, precision_scope

IMAGE = np.random.default_rng(2).random((17, 22, 3), np.float32)


def state():
    return keras.config.dtype_policy().name, keras.config.floatx(), keras.config.image_data_format()


@pytest.fixture(params=["policy", "floatx", "layout"])
def other_settings(request):
    """Returns a function that changes a setting, which is restored after the test."""
    before = state()

    def change():
        if request.param == "policy":
            keras.config.set_dtype_policy("mixed_bfloat16")
        elif request.param == "floatx":
            keras.config.set_floatx("float16")
            keras.config.set_dtype_policy("float16")
        else:
            keras.config.set_image_data_format("channels_first")
        assert state() != before
        return state()

    yield change
    keras.config.set_dtype_policy(before[0])
    keras.config.set_floatx(before[1])
    keras.config.set_image_data_format(before[2])


def test_standard_settings_end_with_the_block_even_if_it_raises(other_settings):
    before = other_settings()
    with pytest.raises(RuntimeError), standard_settings(), standard_settings():
        assert state() == ("float32", "float32", "channels_last")
        raise RuntimeError
    assert state() == before


def test_training_has_its_own_precision_and_layout(other_settings):
    before = other_settings()
    with precision_scope(POLICIES["bfloat16"]):
        assert state() == ("mixed_bfloat16", "float32", "channels_last")
        model = models.create("unet16", {"width": 4}).network
        assert model(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 32, 32, 3)
        assert {weight.dtype for weight in model.weights} == {"float32"}
    assert state() == before


@pytest.mark.slow
def test_loading_restoring_and_exporting_ignore_other_settings(write_run, tmp_path, other_settings):
    run = str(tmp_path / "run")
    write_run(run)
    expected = tfdeblur.load(run).deblur(IMAGE)
    before = other_settings()
    np.testing.assert_array_equal(tfdeblur.load(run).deblur(IMAGE), expected)
    generator, _ = load_generator(run)
    assert {weight.dtype for weight in generator.network.weights} == {"float32"}
    out = export.run(settings.validate(export.ExportConfig, {"workdir": run})).path
    found = load_saved_model(out).restore(tf.constant(IMAGE[np.newaxis]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert state() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nafnet", "mimo_unet", "deblurgan", "srresnet", "rednet30"])
def test_every_kind_of_network_is_built_under_other_settings(name, other_settings):
    other_settings()
    with standard_settings():
        model = models.create(name, {"width": 4}).as_unit_model()
        assert model(np.zeros((1, 40, 33, 3), np.float32)).shape == (1, 40, 33, 3)
