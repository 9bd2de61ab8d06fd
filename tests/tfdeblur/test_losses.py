import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur import losses

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
    }[name]


def test_every_loss_has_a_reference():
    for name in losses.CONTENT_LOSSES:
        reference(name, SHARP, RESTORED, 1.0)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("name", losses.CONTENT_LOSSES)
def test_against_numpy(name, data_range):
    sharp, restored = np.float32(SHARP * data_range), np.float32(RESTORED * data_range)
    value = losses.CONTENT_LOSSES[name](sharp, restored, data_range=data_range)
    value = keras.ops.convert_to_numpy(value)
    assert value.shape == (4,)
    assert value.dtype == np.float32
    expected = reference(name, sharp, restored, data_range)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", losses.CONTENT_LOSSES)
def test_arithmetic_is_float32_for_bfloat16_inputs(name):
    sharp, restored = (tf.cast(x, tf.bfloat16) for x in (SHARP, RESTORED))
    value = losses.CONTENT_LOSSES[name](sharp, restored)
    assert value.dtype == tf.float32
    expected = reference(name, *(tf.cast(x, tf.float64).numpy() for x in (sharp, restored)), 1.0)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", losses.CONTENT_LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1.0, 1e4])
def test_values_and_gradients_are_finite(name, scale):
    sharp = tf.constant(SHARP, tf.float32)
    restored = tf.Variable(sharp + scale * tf.constant(RESTORED, tf.float32))
    with tf.GradientTape() as tape:
        value = losses.CONTENT_LOSSES[name](sharp, restored)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, restored)).all()


@pytest.mark.parametrize("name", losses.CONTENT_LOSSES)
def test_better_is_less(name):
    near, far = SHARP + 0.01, SHARP + 0.1
    loss = losses.CONTENT_LOSSES[name]
    assert np.all(loss(SHARP, near) < loss(SHARP, far))


@pytest.mark.parametrize("x", [0.0, 1e-6, 1e-4, 1e-3, 0.03, 0.2, 0.2499, 0.25, 0.3, 2.0, 30.0, 1e5])
def test_log_cosh_is_accurate_at_every_scale(x):
    # log(cosh(x)) in float64 loses what log1p of the small part keeps.
    expected = np.log1p(2 * np.sinh(x / 2) ** 2) if x < 30 else x - np.log(2)
    for signed in (x, -x):
        value = float(losses.log_cosh(np.float32(signed)))
        assert value == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("x", [-40.0, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.24, 0.26, 1.0, 40.0])
def test_the_slope_of_log_cosh_is_tanh(x):
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        value = losses.log_cosh(variable)
    assert float(tape.gradient(value, variable)) == pytest.approx(np.tanh(x), rel=2e-6)


def test_perfect_restoration():
    values = {name: float(loss(SHARP, SHARP)[0]) for name, loss in losses.CONTENT_LOSSES.items()}
    assert values["mse"] == values["mae"] == values["log_cosh"] == 0
    assert values["charbonnier"] == pytest.approx(1e-3)
    assert values["negative_psnr"] == pytest.approx(-80)
