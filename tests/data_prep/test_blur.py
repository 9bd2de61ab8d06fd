"""Synthetic blur depends only on the key of the image and the seed."""

import numpy as np
import pytest

from data_prep import blur
from data_prep.blur import Blur
from data_prep.sources import scenes
from tests.helpers.raw_data import picture
from tfdeblur.degradation.degradation import Degradation


def gaussian(max_sigma=3.0, **options):
    return Blur(Degradation(blur="gaussian", max_sigma=max_sigma, **options))


def shake(length=60.0, exposures=(0.01, 0.1, 0.5, 1.0), **options):
    return Blur(Degradation(blur="trajectory", length=length, exposures=exposures, **options))


@pytest.fixture
def sharp():
    return picture(1)


def mean_shift(a, b):
    return abs(a.astype(float).mean() - b.astype(float).mean())


@pytest.mark.parametrize("kind", [gaussian(), shake(20.0), shake(20.0, linear_light=True)])
def test_blur_same_seed_and_key_is_deterministic(kind, sharp):
    first = kind.apply(sharp, blur.item_rng(0, "a/1"))
    assert first.dtype == np.uint8 and first.shape == sharp.shape
    np.testing.assert_array_equal(first, kind.apply(sharp, blur.item_rng(0, "a/1")))
    others = [blur.item_rng(1, "a/1"), blur.item_rng(0, "a/2"), blur.item_rng(0, "b/1")]
    assert any((kind.apply(sharp, rng) != first).any() for rng in others)


def test_item_rng_other_key_or_seed_draws_differently():
    keys = [(seed, name) for seed in range(3) for name in ("train/1", "train/2", "test/1")]
    draws = {blur.item_rng(*key).uniform() for key in keys}
    assert len(draws) == len(keys)


def test_item_rng_known_key_draws_known_value():
    assert blur.item_rng(0, "test/00000").uniform() == pytest.approx(0.9968129353, abs=1e-9)


def test_gaussian_sigma_near_zero_is_identity(sharp):
    result = gaussian(0.08).apply(sharp, blur.item_rng(0, "x"))
    np.testing.assert_array_equal(result, sharp)


def test_gaussian_sigma_is_uniform_in_range():
    # A single bright pixel becomes the center of the kernel squared, which determines sigma.
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    peaks = np.array(
        [
            gaussian(3.0).apply(point, blur.item_rng(0, str(number)))[16, 16, 0]
            for number in range(400)
        ]
    )
    # 255 / (2 pi sigma^2) rounds to at most 4 from sigma 3.0, to at least 18 below sigma 1.5.
    assert peaks.min() == 5 or peaks.min() == 4
    assert (peaks >= 18).mean() == pytest.approx(0.5, abs=0.08)
    assert (peaks == 255).mean() == pytest.approx(0.25 / 3, abs=0.06)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.2, 3.0])
def test_gaussian_matches_opencv(sharp, sigma):
    cv2 = pytest.importorskip("cv2")
    size = blur.kernels.gaussian_size(sigma)
    kernel = blur.kernels.gaussian_kernel1d(sigma, size)
    ours = blur.in_light(sharp, 1.0, lambda x: blur.kernels.convolve_separable(x, kernel))
    theirs = cv2.GaussianBlur(sharp, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)
    # OpenCV quantizes the weights for uint8 to 8 bits.
    assert np.abs(ours.astype(int) - theirs).max() <= 2
    assert (ours == theirs).mean() > 0.6


@pytest.mark.parametrize("linear", [False, True])
def test_blur_uniform_image_is_unchanged(linear):
    flat = np.full((20, 24, 3), 131, np.uint8)
    for kind in (gaussian(linear_light=linear), shake(30.0, (1.0,), linear_light=linear)):
        np.testing.assert_array_equal(kind.apply(flat, blur.item_rng(0, "x")), flat)


def test_blur_linear_light_preserves_mean_of_light(sharp):
    plain = shake(12.0, (1.0,)).apply(sharp, blur.item_rng(0, "x"))
    linear = shake(12.0, (1.0,), linear_light=True).apply(sharp, blur.item_rng(0, "x"))
    assert linear.mean() > plain.mean() + 0.2
    light = [((image / 255.0) ** 2.2).mean() for image in (sharp, plain, linear)]
    assert abs(light[2] - light[0]) < abs(light[1] - light[0])


def test_trajectory_straight_path_fits_canvas():
    canvas = shake(60.0).describe()["canvas"]
    assert canvas == 64
    straight = np.linspace(0, 60, 500) + 0j
    kernel = blur.kernels.path_kernel(straight, canvas)
    assert kernel[:, 0].sum() == 0 and kernel[:, -1].sum() == 0


def test_describe_contains_all_parameters():
    described = gaussian(2.0).describe()
    assert described["kind"] == "gaussian" and described["sigma"] == [0.0, 2.0]
    trajectory = shake(30.0, (0.5,), linear_light=True).describe()
    assert trajectory["kind"] == "trajectory"
    assert (trajectory["length"], trajectory["exposures"], trajectory["gamma"]) == (
        30.0,
        [0.5],
        2.2,
    )


def test_gaussian_min_sigma_bounds_sigma():
    assert gaussian(2.5, min_sigma=1.0).describe()["sigma"] == [1.0, 2.5]
    sharp = np.zeros((33, 33, 3), np.uint8)
    sharp[16:] = 255
    # The steepest step of a blurred edge is 255 / (sqrt(2 pi) sigma).
    for key in range(20):
        blurred = gaussian(2.5, min_sigma=1.0).apply(sharp, blur.item_rng(0, str(key)))
        steepest = np.diff(blurred[:, 16, 0].astype(float)).max()
        assert 255 / (np.sqrt(2 * np.pi) * 2.6) < steepest < 255 / (np.sqrt(2 * np.pi) * 0.9)


def test_describe_strength_multiplies_parameters():
    given = gaussian(strength=0.5, min_sigma=1.0, linear_light=True).describe()
    assert (given["sigma"], given["gamma"]) == ([0.5, 1.5], 2.2)
    given = shake(strength=0.5, exposures=(0.5,)).describe()
    assert (given["length"], given["canvas"], given["exposures"]) == (30.0, 34, [0.5])
    assert Blur(Degradation(blur="disc", strength=2.0)).describe() == {
        "kind": "disc",
        "radius": [0.0, 8.0],
        "border": "reflect101",
        "gamma": 1.0,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"blur": "disc"},
        {"blur": "gaussian", "variation": 1.0},
        {"blur": "trajectory", "length": 20.0, "variation": 0.5, "linear_light": True},
        {"blur": "none", "read_noise": 0.05, "shot_noise": 0.05},
        {"blur": "none", "jpeg": 20},
        {"blur": "gaussian", "highlights": 8.0, "jpeg": 50},
    ],
    ids=str,
)
def test_degraded_same_seed_and_key_is_deterministic(options, sharp):
    kind = Blur(Degradation(**options))
    first = kind.apply(sharp, blur.item_rng(0, "a/1"))
    assert first.dtype == np.uint8 and first.shape == sharp.shape
    assert (first != sharp).any()
    np.testing.assert_array_equal(first, kind.apply(sharp, blur.item_rng(0, "a/1")))
    others = [kind.apply(sharp, blur.item_rng(0, f"a/{number}")) for number in range(2, 6)]
    assert any((first != other).any() for other in others)
    described = kind.describe()
    assert described["kind"] == options["blur"]
    assert described.items() >= {k: v for k, v in options.items() if k in described}.items()
    for name in set(options) - {"blur", "linear_light"}:
        assert described[name] == options[name]


def test_degraded_without_effects_is_identity(sharp):
    still = Blur(Degradation())
    np.testing.assert_array_equal(still.apply(sharp, blur.item_rng(0, "x")), sharp)


def test_draw_kernels_with_variation_differ_between_corners():
    rng = blur.item_rng(0, "x")
    shapes = Blur(Degradation(blur="disc", max_radius=8.0, variation=1.0)).draw_kernels(rng)
    assert len(shapes) == 4 and len({shape.shape for shape in shapes}) > 1
    options = Degradation(blur="disc", max_radius=8.0, min_radius=6.0, variation=0.1)
    near = [len(shape) for shape in Blur(options).draw_kernels(rng)]
    assert max(near) - min(near) <= 2
    paths = shake(20.0, (1.0,), variation=0.3).draw_kernels(rng)
    assert len(paths) == 4 and all(path.sum() == pytest.approx(1, abs=1e-5) for path in paths)


@pytest.mark.parametrize(
    "options",
    [
        Degradation(blur="gaussian"),
        Degradation(blur="disc"),
        Degradation(blur="trajectory"),
        Degradation(blur="trajectory", variation=0.5),
    ],
    ids=["gaussian", "disc", "trajectory", "varying"],
)
def test_blur_preserves_mean_brightness(options):
    """Only border reflection and rounding change it, by less than 0.1 %."""
    made = Blur(options)
    changes = []
    for number in range(4):
        sharp = scenes.draw_scene(blur.item_rng(0, f"scene {number}"), 192, 256)
        blurred = made.apply(sharp, blur.item_rng(1, f"{number}"))
        changes.append(np.abs(blurred.astype(int) - sharp).mean())
        assert abs(blurred.mean() - sharp.mean()) / 255 < 1e-3
    # Some images may get no blur, but not all.
    assert max(changes) > 1


def test_mixed_blur_draws_kinds_by_their_shares(sharp):
    options = Degradation(
        blur={"gaussian": 1, "disc": 1, "identity": 2}, min_sigma=2.0, min_radius=2.0
    )
    mixed = Blur(options)
    made = [mixed.apply(sharp, blur.item_rng(0, str(number))) for number in range(60)]
    unchanged = [np.array_equal(image, sharp) for image in made]
    assert 18 <= sum(unchanged) <= 42
    np.testing.assert_array_equal(made[7], mixed.apply(sharp, blur.item_rng(0, "7")))
    facts = mixed.describe()
    assert facts["kind"] == "mixed"
    assert facts["shares"] == {"disc": 0.25, "gaussian": 0.25, "identity": 0.5}
    assert facts["disc"] == {"radius": [2.0, 4.0]} and facts["gaussian"]["sigma"] == [2.0, 3.0]
