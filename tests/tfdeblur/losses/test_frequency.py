import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.losses.frequency import fft_per_example


def mean_of_parts(spectrum: np.ndarray) -> np.ndarray:
    """Returns the mean magnitude of real and imaginary parts of each example's spectrum."""
    parts = np.stack([np.abs(spectrum.real), np.abs(spectrum.imag)], axis=-1)
    return parts.mean(axis=(1, 2, 3, 4))


def reference(sharp: np.ndarray, restored: np.ndarray) -> np.ndarray:
    return mean_of_parts(np.fft.fft2(restored - sharp, axes=(1, 2)))


SIZES = [(1, 1), (1, 2), (2, 1), (3, 4), (4, 3), (5, 7), (8, 8), (9, 2), (16, 11), (32, 48)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_fft_of_even_and_odd_sizes_equals_numpy(height, width):
    sharp, restored = np.random.default_rng(height + width).random((2, 3, height, width, 3))
    value = fft_per_example(np.float32(sharp), np.float32(restored))
    # Both images are transformed and then subtracted, as in the paper.
    spectra = (np.fft.fft2(x, axes=(1, 2)) for x in (sharp, restored))
    spectrum = np.subtract(*spectra)
    expected = mean_of_parts(spectrum)
    np.testing.assert_allclose(value, expected, rtol=2e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("height", "width"), [(6, 4), (5, 3), (4, 7)])
def test_fft_gradient_equals_finite_differences(height, width, jit_compile):
    sharp, restored = np.random.default_rng(height).random((2, 1, height, width, 2))

    @tf.function(jit_compile=jit_compile, autograph=False)
    def gradient_of(restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = fft_per_example(tf.constant(sharp, tf.float32), restored)
        return tape.gradient(value, restored)

    gradient = gradient_of(tf.constant(restored, tf.float32))
    for place in np.ndindex(1, height, width, 2):
        step = np.zeros_like(restored)
        step[place] = 1e-6
        above, below = (reference(sharp, restored + s)[0] for s in (step, -step))
        assert float(gradient[place]) == pytest.approx((above - below) / 2e-6, abs=2e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_fft_under_xla_has_static_shapes_and_equal_values(dtype):
    @tf.function(jit_compile=True, autograph=False)
    def step(sharp, restored):
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = fft_per_example(sharp, restored)
        return value, tape.gradient(value, restored)

    images = tf.TensorSpec((2, 16, 12, 3), dtype)
    graph = step.get_concrete_function(images, images).graph
    outputs = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    assert all(tensor.shape.is_fully_defined() for tensor in outputs)
    with tf.device("/CPU:0"):
        sharp, restored = (tf.cast(x, dtype) for x in np.random.random((2, 2, 16, 12, 3)))
        value, gradient = step(sharp, restored)
    np.testing.assert_allclose(value, fft_per_example(sharp, restored), rtol=1e-5)
    assert gradient.dtype == dtype
    assert np.isfinite(tf.cast(gradient, tf.float32)).all()


def test_fft_of_unknown_sizes_equals_known_sizes():
    images = tf.TensorSpec((None, None, None, 3))
    loss = tf.function(fft_per_example, input_signature=[images, images], autograph=False)
    sharp, restored = np.float32(np.random.default_rng(5).random((2, 4, 6, 5, 3)))
    expected = fft_per_example(sharp, restored)
    np.testing.assert_allclose(loss(sharp, restored), expected, rtol=1e-6)
