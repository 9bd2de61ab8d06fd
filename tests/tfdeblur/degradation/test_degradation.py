"""The degradation steps against their closed forms."""

import math

import numpy as np
import pytest

from tfdeblur import config
from tfdeblur.config import settings
from tfdeblur.degradation import degradation, kernels
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.ops import arrays

ONE = [np.ones((1, 1), np.float32)]


def box(width):
    kernel = np.zeros((width, width), np.float32)
    kernel[width // 2] = 1 / width
    return kernel


def test_degrade_of_an_edge_averages_light():
    sharp = np.full((8, 40, 3), 40, np.uint8)
    sharp[:, 20:] = 200
    dark, bright = (40 / 255) ** 2.2, (200 / 255) ** 2.2
    values = degradation.degrade(sharp, [box(9)], gamma=2.2)
    for column in range(12, 28):
        share = np.clip((column + 4 - 20 + 1) / 9, 0, 1)
        expected = (share * bright + (1 - share) * dark) ** (1 / 2.2)
        np.testing.assert_allclose(values[:, column], expected, atol=1e-5)
    plain = degradation.degrade(sharp, [box(9)])
    np.testing.assert_allclose(plain[:, 20], (4 * 40 + 5 * 200) / 9 / 255, atol=1e-5)


def test_blur_with_four_equal_kernels_equals_one_kernel():
    image = np.random.default_rng(0).uniform(size=(31, 20, 3)).astype(np.float32)
    kernel = kernels.trajectory_kernel(np.random.default_rng(1), 24, 20.0)
    np.testing.assert_allclose(
        degradation.blur(image, [kernel] * 4), kernels.convolve(image, kernel), atol=1e-6
    )


def test_blur_with_four_kernels_blends_between_corners():
    weights = degradation.corner_weights(9, 5)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    for number, place in enumerate(corners):
        np.testing.assert_array_equal(weights[(slice(None), *place)], np.eye(4)[number])
    np.testing.assert_allclose(weights[:, 4, 2], 0.25)
    assert np.abs(np.diff(weights, axis=1)).max() <= 1 / 8 + 1e-6
    np.testing.assert_array_equal(degradation.corner_weights(1, 1), np.full((4, 1, 1), 0.25))

    image = np.random.default_rng(0).uniform(size=(33, 33, 3)).astype(np.float32)
    corner_kernels = [kernels.disc(radius) for radius in (0.0, 3.0, 0.0, 5.0)]
    varying = degradation.blur(image, corner_kernels)
    for kernel, (row, column) in zip(corner_kernels, corners, strict=True):
        expected = kernels.convolve(image, kernel)[row, column]
        np.testing.assert_allclose(varying[row, column], expected, atol=1e-6)


def test_degrade_with_varying_blur_keeps_brightness():
    flat = np.full((20, 30, 3), 77, np.uint8)
    rng = np.random.default_rng(2)
    corner_kernels = [kernels.trajectory_kernel(rng, 24, 20.0) for _ in range(4)]
    for gamma in (1.0, 2.2):
        values = degradation.degrade(flat, corner_kernels, gamma=gamma)
        np.testing.assert_allclose(values, 77 / 255, atol=1e-5)
        np.testing.assert_array_equal(arrays.to_uint8(values), flat)


@pytest.mark.parametrize(("read", "shot"), [(0.02, 0.0), (0.0, 0.05), (0.01, 0.03)])
def test_noise_has_the_requested_variance(read, shot):
    for level in (64, 128, 200):
        flat = np.full((200, 200, 3), level, np.uint8)
        normals = np.random.default_rng(level).standard_normal(flat.shape, np.float32)
        values = degradation.degrade(flat, ONE, read=read, shot=shot, normals=normals)
        error = values.astype(np.float64) - level / 255
        # 120,000 pixels: four standard errors of variance and mean.
        expected = read**2 + shot**2 * level / 255
        assert error.var() == pytest.approx(expected, rel=4 * math.sqrt(2 / error.size))
        assert abs(error.mean()) < 4 * math.sqrt(expected / error.size)


def test_noise_is_added_in_linear_light():
    flat = np.full((200, 200, 3), 128, np.uint8)
    normals = np.random.default_rng(0).standard_normal(flat.shape, np.float32)
    values = degradation.degrade(flat, ONE, gamma=2.2, read=0.01, normals=normals)
    # To first order, the deviation of light is divided by the slope of light over pixel values.
    slope = 2.2 * (128 / 255) ** 1.2
    assert values.std() == pytest.approx(0.01 / slope, rel=0.02)


def test_boost_brightens_white_and_keeps_colors():
    sharp = np.zeros((9, 41, 3), np.uint8)
    sharp[4, 10] = 255
    sharp[4, 30] = (255, 0, 0)
    plain = degradation.degrade(sharp, [box(9)])
    streaked = degradation.degrade(sharp, [box(9)], boost=8.0)
    np.testing.assert_allclose(plain[4, 6:15], 1 / 9, atol=1e-5)
    np.testing.assert_allclose(streaked[4, 6:15], 1, atol=1e-5)
    np.testing.assert_allclose(streaked[4, 26:35], plain[4, 26:35], atol=1e-5)
    assert degradation.degrade(sharp, ONE, boost=8.0).max() == 1
    dim = np.full((4, 4, 3), 249, np.uint8)
    np.testing.assert_allclose(degradation.degrade(dim, ONE, boost=8.0), 249 / 255, atol=1e-6)


def test_compress_at_lower_quality_loses_more():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 4, 3)).repeat(12, axis=0).repeat(10, axis=1).astype(np.uint8)
    errors = [
        np.abs(degradation.compress(image, quality).astype(float) - image).mean()
        for quality in (95, 50, 5)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert degradation.compress(image, 50).shape == image.shape


@pytest.mark.parametrize(
    ("options", "canvas"),
    [
        ({"blur": "none"}, 1),
        ({"blur": "trajectory"}, 64),
        ({"blur": "trajectory", "strength": 0.5}, 34),
        ({"blur": "gaussian"}, 19),
        ({"blur": "gaussian", "strength": 2.0}, 37),
        ({"blur": "disc", "max_radius": 0.2}, 1),
        ({"blur": "disc", "max_radius": 4.0}, 9),
    ],
)
def test_canvas_holds_every_kernel(options, canvas):
    assert Degradation(**options).canvas == canvas
    if options["blur"] == "disc":
        assert kernels.disc(options["max_radius"]).shape[0] == canvas


def test_changes_only_with_blur_noise_or_jpeg():
    assert not Degradation().changes
    assert not Degradation(strength=2.0, linear_light=True).changes
    assert Degradation(blur="disc").changes
    assert Degradation(jpeg=80).changes and Degradation(shot_noise=0.1).changes


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"blur": "gauss"}, "blur"),
        ({"min_sigma": 2.0, "max_sigma": 1.0}, "min_sigma.*max_sigma"),
        ({"min_radius": 9.0}, "min_radius"),
        ({"strength": 0}, "strength"),
        ({"variation": 1.5}, "variation"),
        ({"jpeg": 0}, "jpeg"),
    ],
)
def test_invalid_option_raises_naming_it(tree, key):
    with pytest.raises(ConfigError, match=key):
        settings.validate(Degradation, tree)


@pytest.mark.parametrize(
    ("blur", "key"),
    [
        ({"trajectory": -1}, "synthesis.blur.trajectory"),
        ({"trajectroy": 1}, "synthesis.blur.trajectroy"),
        ({"disc": 0, "identity": 0}, "synthesis: blur"),
        ({}, "synthesis: blur"),
        ("identity", "synthesis.blur"),
    ],
)
def test_impossible_shares_are_refused(blur, key):
    with pytest.raises(ConfigError, match=key):
        config.resolve({"recipe": "quickstart", "workdir": "run", "synthesis": {"blur": blur}})


def test_shares_survive_their_file():
    shares = {"trajectory": 3.0, "none": 1.0, "identity": 2.0}
    resolved = config.resolve(
        {"recipe": "quickstart", "workdir": "run", "synthesis": {"blur": shares}}
    )
    again = config.resolve(settings.parse_yaml(config.to_yaml(resolved), "it"))
    assert again == resolved and again.synthesis.blur == shares


def test_identity_alone_changes_nothing():
    assert not Degradation(blur={"identity": 1}, read_noise=0.1, jpeg=50).changes
    assert Degradation(blur={"identity": 1, "none": 1}, jpeg=50).changes
    assert not Degradation(blur={"identity": 1, "none": 1}).changes
