"""The TensorFlow kernels agree with `degradation.kernels` to 1e-5 for the same draws."""

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.degradation import degradation, kernels, kernels_tensorflow
from tfdeblur.degradation.kernels_tensorflow import PathDraws

TOLERANCE = 1e-5


def parts(values: np.ndarray) -> np.ndarray:
    return np.stack([values.real, values.imag], axis=-1)


def as_tensors(draws: kernels.TrajectoryDraws) -> PathDraws:
    heading = parts(np.exp(1j * draws.heading))
    arrays = (draws.shake, draws.pull, draws.gaussian, heading, parts(draws.force))
    return PathDraws(*map(tf.constant, (*arrays, parts(draws.jump))))


@pytest.fixture(scope="module")
def draws() -> kernels.TrajectoryDraws:
    return kernels.draw_trajectories(np.random.default_rng(0), 24)


@pytest.fixture(scope="module")
def paths(draws: kernels.TrajectoryDraws) -> np.ndarray:
    return kernels.trajectories(draws, 60.0)


@pytest.mark.parametrize("jit", [False, True])
def test_trajectories_equal_numpy(
    draws: kernels.TrajectoryDraws, paths: np.ndarray, jit: bool
) -> None:
    follow = tf.function(
        lambda d: kernels_tensorflow.trajectories(d, 60.0), jit_compile=jit, autograph=False
    )
    made = follow(as_tensors(draws))
    assert made.shape == [24, kernels.STEPS, 2] and made.dtype == tf.float64
    np.testing.assert_allclose(made, parts(paths), atol=TOLERANCE)


@pytest.mark.parametrize("canvas", [64, 65])
@pytest.mark.parametrize("exposure", [*kernels.EXPOSURES, 1e-6])
def test_path_kernels_equal_numpy_and_are_centered(
    paths: np.ndarray, exposure: float, canvas: int
) -> None:
    points = max(1, round(exposure * kernels.STEPS))
    made = kernels_tensorflow.path_kernels(tf.constant(parts(paths)), tf.fill([24], points), canvas)
    assert made.shape == [24, canvas, canvas] and made.dtype == tf.float32
    expected = [kernels.path_kernel(path, canvas, exposure) for path in paths]
    np.testing.assert_allclose(made, expected, atol=TOLERANCE)
    np.testing.assert_allclose(tf.reduce_sum(made, [1, 2]), 1, atol=TOLERANCE)
    places = np.arange(canvas) - canvas // 2
    for axis in (1, 2):
        np.testing.assert_allclose(made.numpy().sum(axis=3 - axis) @ places, 0, atol=1e-4)


def test_path_kernels_of_long_paths_equal_numpy(paths: np.ndarray) -> None:
    made = kernels_tensorflow.path_kernels(tf.constant(parts(4 * paths)), tf.fill([24], 2000), 16)
    expected = [kernels.path_kernel(4 * path, 16) for path in paths]
    np.testing.assert_allclose(made, expected, atol=TOLERANCE)


def test_gaussian_kernels_equal_numpy() -> None:
    widths = np.array([0.0, 1e-5, 0.08, 0.09, 0.3, 0.5, 1.0, 1.7, 2.5, 3.0])
    canvas = kernels.gaussian_size(3.0)
    made = kernels_tensorflow.gaussian_kernels(tf.constant(widths), canvas)
    for kernel, width in zip(made.numpy(), widths, strict=True):
        line = kernels.gaussian_kernel1d(width, kernels.gaussian_size(width))
        expected = np.pad(np.outer(line, line), (canvas - len(line)) // 2)
        np.testing.assert_allclose(kernel, expected, atol=TOLERANCE)
        assert kernel.sum() == pytest.approx(1, abs=TOLERANCE)


def test_disc_kernels_equal_numpy() -> None:
    radii = np.concatenate([[0.0, 0.3, 0.5, 0.5001, 2.5, 6.0], np.linspace(0.6, 5.9, 20)])
    made = kernels_tensorflow.disc_kernels(tf.constant(radii), 13)
    for kernel, radius in zip(made.numpy(), radii, strict=True):
        small = kernels.disc(radius)
        expected = np.pad(small, (13 - len(small)) // 2)
        np.testing.assert_allclose(kernel, expected, atol=TOLERANCE)


@pytest.mark.parametrize("reach", [0, 3, 11, 50])
def test_reflected_by_any_width_equals_numpy_pad(reach: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 12), np.uint8)
    width = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    np.testing.assert_array_equal(
        kernels_tensorflow.reflected(tf.constant(images), reach),
        np.pad(images, width, mode="reflect"),
    )


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("side", "count"), [(1, 1), (9, 1), (24, 1), (9, 4), (24, 4)])
def test_convolve_equals_numpy(side: int, count: int, jit: bool) -> None:
    rng = np.random.default_rng(side)
    images = rng.uniform(size=(3, 21, 34, 3)).astype(np.float32)
    shapes = rng.uniform(size=(3, count, side, side)).astype(np.float32)
    shapes /= shapes.sum(axis=(2, 3), keepdims=True)

    @tf.function(jit_compile=jit, autograph=False)
    def convolved(images: tf.Tensor, shapes: tf.Tensor) -> tf.Tensor:
        padded = kernels_tensorflow.reflected(tf.transpose(images, [0, 3, 1, 2]), side // 2)
        return tf.transpose(kernels_tensorflow.convolve(padded, shapes), [0, 2, 3, 1])

    made = convolved(tf.constant(images), tf.constant(shapes))
    assert made.shape == images.shape
    expected = [degradation.blur(*pair) for pair in zip(images, shapes, strict=True)]
    np.testing.assert_allclose(made, expected, atol=TOLERANCE)
