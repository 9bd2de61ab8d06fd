import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.losses import pixel

RNG = np.random.default_rng(5)
SHARP = RNG.random((4, 6, 5, 3))
RESTORED = np.clip(SHARP + RNG.normal(0, 0.1, SHARP.shape), 0, 1)


def both_parts(spectrum: np.ndarray) -> np.ndarray:
    """Returns the magnitudes of the real and the imaginary parts, stacked at the end."""
    return np.stack([np.abs(spectrum.real), np.abs(spectrum.imag)], axis=-1)


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
        "fft": both_parts(np.fft.fft2(difference, axes=(1, 2))).mean(axis=(1, 2, 3, 4)),
    }[name]


def test_every_loss_has_a_reference():
    for name in pixel.CONTENT_LOSSES:
        reference(name, SHARP, RESTORED, 1.0)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("name", pixel.CONTENT_LOSSES)
def test_against_numpy(name, data_range):
    sharp, restored = np.float32(SHARP * data_range), np.float32(RESTORED * data_range)
    value = pixel.CONTENT_LOSSES[name](sharp, restored, data_range=data_range)
    value = keras.ops.convert_to_numpy(value)
    assert value.shape == (4,)
    assert value.dtype == np.float32
    expected = reference(name, sharp, restored, data_range)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", pixel.CONTENT_LOSSES)
def test_arithmetic_is_float32_for_bfloat16_inputs(name):
    sharp, restored = (tf.cast(x, tf.bfloat16) for x in (SHARP, RESTORED))
    value = pixel.CONTENT_LOSSES[name](sharp, restored)
    assert value.dtype == tf.float32
    expected = reference(name, *(tf.cast(x, tf.float64).numpy() for x in (sharp, restored)), 1.0)
    np.testing.assert_allclose(value, expected, rtol=5e-6)


@pytest.mark.parametrize("name", pixel.CONTENT_LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1.0, 1e4])
def test_values_and_gradients_are_finite(name, scale):
    sharp = tf.constant(SHARP, tf.float32)
    restored = tf.Variable(sharp + scale * tf.constant(RESTORED, tf.float32))
    with tf.GradientTape() as tape:
        value = pixel.CONTENT_LOSSES[name](sharp, restored)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, restored)).all()


@pytest.mark.parametrize("name", pixel.CONTENT_LOSSES)
def test_better_is_less(name):
    near, far = SHARP + 0.01, SHARP + 0.1
    loss = pixel.CONTENT_LOSSES[name]
    assert np.all(loss(SHARP, near) < loss(SHARP, far))


@pytest.mark.parametrize("x", [0.0, 1e-6, 1e-4, 1e-3, 0.03, 0.2, 0.2499, 0.25, 0.3, 2.0, 30.0, 1e5])
def test_log_cosh_is_accurate_at_every_scale(x):
    # log(cosh(x)) in float64 loses what log1p of the small part keeps.
    expected = np.log1p(2 * np.sinh(x / 2) ** 2) if x < 30 else x - np.log(2)
    for signed in (x, -x):
        value = float(pixel.log_cosh(np.float32(signed)))
        assert value == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("x", [-40.0, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.24, 0.26, 1.0, 40.0])
def test_the_slope_of_log_cosh_is_tanh(x):
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        value = pixel.log_cosh(variable)
    assert float(tape.gradient(value, variable)) == pytest.approx(np.tanh(x), rel=2e-6)


def test_perfect_restoration():
    values = {name: float(loss(SHARP, SHARP)[0]) for name, loss in pixel.CONTENT_LOSSES.items()}
    assert values["mse"] == values["mae"] == values["log_cosh"] == values["fft"] == 0
    assert values["charbonnier"] == pytest.approx(1e-3)
    assert values["negative_psnr"] == pytest.approx(-80)


SIZES = [(1, 1), (1, 2), (2, 1), (3, 4), (4, 3), (5, 7), (8, 8), (9, 2), (16, 11), (32, 48)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_fft_of_every_parity_equals_numpy(height, width):
    sharp, restored = np.random.default_rng(height + width).random((2, 3, height, width, 3))
    value = pixel.fft_per_example(np.float32(sharp), np.float32(restored))
    # Transformed apart and subtracted afterwards, as the paper writes it.
    spectra = (np.fft.fft2(x, axes=(1, 2)) for x in (sharp, restored))
    spectrum = np.subtract(*spectra)
    expected = both_parts(spectrum).sum((1, 2, 3, 4)) / (2 * height * width * 3)
    np.testing.assert_allclose(value, expected, rtol=2e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("height", "width"), [(6, 4), (5, 3), (4, 7)])
def test_gradient_of_fft_against_finite_differences(height, width, jit_compile):
    sharp, restored = np.random.default_rng(height).random((2, 1, height, width, 2))

    @tf.function(jit_compile=jit_compile)
    def gradient_of(restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = pixel.fft_per_example(tf.constant(sharp, tf.float32), restored)
        return tape.gradient(value, restored)

    gradient = gradient_of(tf.constant(restored, tf.float32))
    for place in np.ndindex(1, height, width, 2):
        step = np.zeros_like(restored)
        step[place] = 1e-6
        above, below = (reference("fft", sharp, restored + s, 1.0)[0] for s in (step, -step))
        assert float(gradient[place]) == pytest.approx((above - below) / 2e-6, abs=2e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_fft_compiles_with_xla_and_static_shapes(dtype):
    @tf.function(jit_compile=True)
    def step(sharp, restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = pixel.fft_per_example(sharp, restored)
        return value, tape.gradient(value, restored)

    images = tf.TensorSpec((2, 16, 12, 3), dtype)
    graph = step.get_concrete_function(images, images).graph
    outputs = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    assert all(tensor.shape.is_fully_defined() for tensor in outputs)
    with tf.device("/CPU:0"):
        sharp, restored = (tf.cast(x, dtype) for x in np.random.random((2, 2, 16, 12, 3)))
        value, gradient = step(sharp, restored)
    np.testing.assert_allclose(value, pixel.fft_per_example(sharp, restored), rtol=1e-5)
    assert gradient.dtype == dtype
    assert np.isfinite(tf.cast(gradient, tf.float32)).all()


def test_fft_of_unknown_sizes():
    images = tf.TensorSpec((None, None, None, 3))
    loss = tf.function(pixel.fft_per_example, input_signature=[images, images])
    sharp, restored = np.float32(SHARP), np.float32(RESTORED)
    expected = pixel.fft_per_example(sharp, restored)
    np.testing.assert_allclose(loss(sharp, restored), expected, rtol=1e-6)
