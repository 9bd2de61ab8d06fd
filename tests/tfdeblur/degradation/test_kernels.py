"""Kernels preserve brightness and alignment; convolution agrees with its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.degradation import kernels


def centroid(kernel):
    rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    return float((kernel * rows).sum()), float((kernel * columns).sum())


def convolve_by_definition(image, kernel):
    """out[y, x] = sum over (i, j) of kernel[i, j] * image[y - (i - c), x - (j - c)]."""
    size, center = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(image.astype(np.float64), ((size, size), (size, size), (0, 0)), mode="reflect")
    out = np.zeros(image.shape)
    height, width = image.shape[:2]
    for i in range(size):
        for j in range(size):
            y, x = size - (i - center), size - (j - center)
            out += kernel[i, j] * padded[y : y + height, x : x + width]
    return out


@pytest.fixture
def image():
    return np.random.default_rng(3).uniform(0, 255, (23, 17, 3)).astype(np.float32)


@given(st.floats(0, 20), st.integers(0, 30))
def test_gaussian_sums_to_one_and_is_symmetric(sigma, half):
    kernel = kernels.gaussian_kernel1d(sigma, 2 * half + 1)
    assert kernel.dtype == np.float32 and kernel.shape == (2 * half + 1,)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(kernel, kernel[::-1])


def test_gaussian_has_the_requested_sigma():
    kernel = kernels.gaussian_kernel1d(2.0, 25).astype(np.float64)
    offsets = np.arange(25) - 12
    assert math.sqrt((kernel * offsets**2).sum()) == pytest.approx(2.0, rel=1e-4)
    assert kernel[13] / kernel[12] == pytest.approx(math.exp(-1 / 8), rel=1e-6)


@pytest.mark.parametrize(
    ("sigma", "size"), [(0.0, 1), (0.08, 1), (0.09, 3), (0.5, 5), (1.0, 7), (2.0, 13), (3.0, 19)]
)
def test_gaussian_size_holds_three_sigma(sigma, size):
    assert kernels.gaussian_size(sigma) == size


def test_gaussian_of_sigma_zero_is_the_identity():
    np.testing.assert_array_equal(kernels.gaussian_kernel1d(0.0, 5), [0, 0, 1, 0, 0])


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="odd"):
        kernels.gaussian_kernel1d(1.0, 4)
    with pytest.raises(ValueError, match="sigma"):
        kernels.gaussian_kernel1d(-1.0, 5)
    with pytest.raises(ValueError, match="radius"):
        kernels.disc(-0.1)
    with pytest.raises(ValueError, match="exposure"):
        kernels.path_kernel(np.zeros(5, complex), 9, 0.0)


def test_convolve_separable_equals_the_definition(image):
    kernel = kernels.gaussian_kernel1d(1.5, 11)
    expected = convolve_by_definition(image, np.outer(kernel, kernel))
    np.testing.assert_allclose(kernels.convolve_separable(image, kernel), expected, atol=2e-3)


def test_convolve_equals_the_definition(image):
    kernel = np.random.default_rng(0).uniform(size=(7, 7)).astype(np.float32)
    kernel /= kernel.sum()
    result = kernels.convolve(image, kernel)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, convolve_by_definition(image, kernel), atol=2e-3)


def test_convolve_with_even_kernel_is_centered_at_half_its_size(image):
    kernel = np.zeros((8, 8), np.float32)
    kernel[4, 4] = 1
    np.testing.assert_allclose(kernels.convolve(image, kernel), image, atol=1e-3)
    kernel = np.roll(kernel, (2, -3), (0, 1))
    expected = convolve_by_definition(image, kernel)
    np.testing.assert_allclose(kernels.convolve(image, kernel), expected, atol=2e-3)


def test_convolve_with_kernel_larger_than_image_reflects_repeatedly(image):
    kernel = kernels.gaussian_kernel1d(4.0, 25)
    tiny = image[:4, :3]
    expected = kernels.convolve_separable(tiny, kernel)
    np.testing.assert_allclose(
        kernels.convolve(tiny, np.outer(kernel, kernel)), expected, rtol=1e-4, atol=1e-2
    )


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.5, 1.0, 1.5, 2.7, 6.0])
def test_disc_is_symmetric_and_has_the_requested_area(radius):
    kernel = kernels.disc(radius).astype(np.float64)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    np.testing.assert_array_equal(kernel, kernel.T)
    if radius >= 1:
        # A pixel entirely inside holds one pixel's fraction of the area.
        assert kernel.max() == pytest.approx(1 / (math.pi * radius**2), rel=0.03)
    if radius <= 0.5:
        assert kernel.shape == (1, 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(kernels.EXPOSURES), st.sampled_from([64, 65]))
def test_trajectory_kernel_sums_to_one_and_is_centered(seed, exposure, canvas):
    kernel = kernels.trajectory_kernel(np.random.default_rng(seed), canvas, exposure=exposure)
    assert kernel.dtype == np.float32 and kernel.shape == (canvas, canvas)
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert centroid(kernel) == pytest.approx((canvas // 2, canvas // 2), abs=1e-3)


def test_trajectories_have_constant_speed_and_the_requested_length():
    paths = kernels.trajectories(kernels.draw_trajectories(np.random.default_rng(0), 8), 60.0)
    steps = np.abs(np.diff(paths, axis=1))
    np.testing.assert_allclose(steps, 60 / 1999, rtol=1e-9)
    assert (paths[:, 0] == 0).all()
    # A straight line would reach 60; the pull brings the path back.
    reach = np.abs(paths).max(axis=1)
    assert reach.min() < 40 and len(np.unique(reach)) == 8


def test_trajectory_does_not_depend_on_its_batch():
    draws = kernels.draw_trajectories(np.random.default_rng(5), 3, steps=200)
    alone = kernels.TrajectoryDraws(**{name: value[1:2] for name, value in vars(draws).items()})
    np.testing.assert_array_equal(
        kernels.trajectories(alone, 30.0)[0], kernels.trajectories(draws, 30.0)[1]
    )


def test_jerks_have_the_expected_frequency():
    draws = kernels.draw_trajectories(np.random.default_rng(1), 4000, steps=400)
    # Mean of p is 0.1 and mean of e is 0.007.
    assert (draws.jump != 0).mean() == pytest.approx(0.1 * 0.007, rel=0.1)
    jumps = draws.jump[draws.jump != 0]
    np.testing.assert_allclose(np.abs(jumps), 2)
    assert np.abs(np.angle(-jumps)).max() <= 0.5


def test_path_kernel_with_longer_exposure_has_lower_peak():
    rng = np.random.default_rng(2)
    paths = kernels.trajectories(kernels.draw_trajectories(rng, 16), 60.0)
    peaks = [
        np.mean([kernels.path_kernel(path, 64, share).max() for path in paths])
        for share in kernels.EXPOSURES
    ]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > 0.3 > 0.1 > peaks[-1]


def test_path_kernel_of_path_outside_canvas_draws_on_border():
    kernel = kernels.path_kernel(np.linspace(0, 100, 1000) + 0j, 16)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel[:, 0].sum() > 0.3 and kernel[:, -1].sum() > 0.3


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.9])
def test_path_kernel_spreads_points_over_four_neighbors(offset):
    # Two points, at least a pixel apart; in general their centroid falls between pixels.
    kernel = kernels.path_kernel(np.array([0, 1 + offset]) + 0j, 9)
    assert kernel[4].sum() == pytest.approx(1, abs=1e-6)
    expected = np.zeros(9)
    for place in (4 - (1 + offset) / 2, 4 + (1 + offset) / 2):
        low = math.floor(place)
        expected[low] += (1 - place + low) / 2
        expected[low + 1] += (place - low) / 2
    np.testing.assert_allclose(kernel[4], expected, atol=1e-6)


def test_convolve_with_trajectory_kernel_keeps_brightness_and_position():
    kernel = kernels.trajectory_kernel(np.random.default_rng(7))
    flat = np.full((40, 30, 3), 77, np.float32)
    np.testing.assert_allclose(kernels.convolve(flat, kernel), flat, rtol=1e-5)
    point = np.zeros((129, 129, 3), np.float32)
    point[64, 64] = 1
    blurred = kernels.convolve(point, kernel)[..., 0].astype(np.float64)
    assert centroid(blurred) == pytest.approx((64, 64), abs=1e-2)
