import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tfdeblur.losses.test_frequency import mean_of_parts
from tfdeblur.losses import CONTENT_LOSSES, RELATIVE_LOSSES, pixel

RNG = np.random.default_rng(5)
SHARP = RNG.random((4, 6, 5, 3))
RESTORED = np.clip(SHARP + RNG.normal(0, 0.1, SHARP.shape), 0, 1)


def reference(name: str, sharp: np.ndarray, restored: np.ndarray, data_range: float) -> np.ndarray:
    difference = np.float64(restored) - np.float64(sharp)
    axes = (1, 2, 3)
    mse = np.mean(difference**2, axes)
    return {
        "mse": mse,
        "mae": np.mean(np.abs(difference), axes),
        "log_cosh": np.mean(np.log(np.cosh(difference)), axes),
        "charbonnier": np.mean(np.sqrt(difference**2 + 1e-6), axes),
        "negative_psnr": -10 * np.log10(data_range**2 / mse),
        "fft": mean_of_parts(np.fft.fft2(difference, axes=(1, 2))),
    }[name]


def test_content_losses_all_have_a_reference():
    for name in CONTENT_LOSSES:
        reference(name, SHARP, RESTORED, 1.0)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("name", CONTENT_LOSSES)
def test_loss_equals_numpy_reference(name, data_range):
    sharp, restored = np.float32(SHARP * data_range), np.float32(RESTORED * data_range)
    options = {"data_range": data_range} if name in RELATIVE_LOSSES else {}
    value = CONTENT_LOSSES[name](sharp, restored, **options)
    value = keras.ops.convert_to_numpy(value)
    assert value.shape == (4,)
    assert value.dtype == np.float32
    expected = reference(name, sharp, restored, data_range)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", CONTENT_LOSSES)
def test_loss_of_bfloat16_inputs_is_computed_in_float32(name):
    sharp, restored = (tf.cast(x, tf.bfloat16) for x in (SHARP, RESTORED))
    value = CONTENT_LOSSES[name](sharp, restored)
    assert value.dtype == tf.float32
    expected = reference(name, *(tf.cast(x, tf.float64).numpy() for x in (sharp, restored)), 1.0)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", CONTENT_LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1.0, 1e4])
def test_loss_and_gradient_at_every_scale_are_finite(name, scale):
    sharp = tf.constant(SHARP, tf.float32)
    restored = tf.Variable(sharp + scale * tf.constant(RESTORED, tf.float32))
    with tf.GradientTape() as tape:
        value = CONTENT_LOSSES[name](sharp, restored)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, restored)).all()


@pytest.mark.parametrize("name", CONTENT_LOSSES)
def test_loss_of_better_restoration_is_smaller(name):
    near, far = SHARP + 0.01, SHARP + 0.1
    loss = CONTENT_LOSSES[name]
    assert np.all(loss(SHARP, near) < loss(SHARP, far))


@pytest.mark.parametrize("x", [0.0, 1e-6, 1e-4, 1e-3, 0.03, 0.2, 0.2499, 0.25, 0.3, 2.0, 30.0, 1e5])
def test_log_cosh_at_every_scale_is_accurate(x):
    # log1p keeps the small part that log(cosh(x)) loses even in float64.
    expected = np.log1p(2 * np.sinh(x / 2) ** 2) if x < 30 else x - np.log(2)
    for signed in (x, -x):
        value = float(pixel.log_cosh(np.float32(signed)))
        assert value == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("x", [-40.0, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.24, 0.26, 1.0, 40.0])
def test_log_cosh_gradient_equals_tanh(x):
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        value = pixel.log_cosh(variable)
    assert float(tape.gradient(value, variable)) == pytest.approx(np.tanh(x), rel=2e-6)


def test_loss_of_perfect_restoration_is_minimal():
    values = {name: float(loss(SHARP, SHARP)[0]) for name, loss in CONTENT_LOSSES.items()}
    assert values["mse"] == values["mae"] == values["log_cosh"] == values["fft"] == 0
    assert values["charbonnier"] == pytest.approx(1e-3)
    assert values["negative_psnr"] == pytest.approx(-80)
