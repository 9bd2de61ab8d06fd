"""NIQE against a plain implementation of the paper, under random parameters."""

import math

import numpy as np
import pytest
import skimage.data
from scipy import ndimage, special

from tfdeblur.errors import DataError, UserError
from tfdeblur.metrics.niqe import Niqe


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(36, 36))
    return {
        "mu_pris_param": rng.normal(1, 0.3, (1, 36)),
        "cov_pris_param": factor @ factor.T / 36 + 0.1 * np.eye(36),
    }


def plain_fit(values):
    """Equations 4 to 7 of the paper, by a search over all shapes."""
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = special.gamma(2 / shapes) ** 2 / (
        special.gamma(1 / shapes) * special.gamma(3 / shapes)
    )
    left = math.sqrt(np.mean(values[values < 0] ** 2))
    right = math.sqrt(np.mean(values[values > 0] ** 2))
    ratio = left / right
    moment = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moment *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - moment) ** 2)]
    scale = math.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, left * scale, right * scale


def plain_features(luma, side):
    x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2).sum(axis=0) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = ndimage.correlate(luma, window, mode="nearest")
    deviation = np.sqrt(np.abs(ndimage.correlate(luma**2, window, mode="nearest") - mean**2))
    normalized = (luma - mean) / (deviation + 1)
    rows = []
    for top in range(0, luma.shape[0], side):
        for start in range(0, luma.shape[1], side):
            block = normalized[top : top + side, start : start + side]
            shape, left, right = plain_fit(block)
            row = [shape, (left + right) / 2]
            for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, left, right = plain_fit(block * np.roll(block, shift, (0, 1)))
                offset = (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)
                row += [shape, offset, left, right]
            rows.append(row)
    return np.array(rows)


def plain_half(image):
    """Bicubic interpolation with a kernel of twice the width, one row and column at a time."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    for _ in range(2):
        count, result = len(image), []
        for place in range(count // 2):
            center = 2 * place + 0.5
            total, weights = 0.0, 0.0
            for near in range(2 * place - 4, 2 * place + 6):
                weight = kernel((near - center) / 2)
                mirrored = -near - 1 if near < 0 else min(near, 2 * count - 1 - near)
                total, weights = total + weight * image[mirrored], weights + weight
            result.append(total / weights)
        image = np.array(result).T
    return image


def plain_niqe(image, given):
    # The same order of operations, as the last digit decides how halves are rounded.
    luma = np.rint(image @ (np.array([65.481, 128.553, 24.966]) / 255) + 16)
    luma = luma[: luma.shape[0] // 96 * 96, : luma.shape[1] // 96 * 96]
    features = np.hstack([plain_features(luma, 96), plain_features(plain_half(luma), 48)])
    difference = given["mu_pris_param"][0] - features.mean(axis=0)
    covariance = (given["cov_pris_param"] + np.cov(features.T)) / 2
    return math.sqrt(difference @ np.linalg.pinv(covariance) @ difference)


@pytest.mark.parametrize("size", [(96, 192), (200, 310)])
@pytest.mark.parametrize("seed", [0, 1])
def test_niqe_equals_a_plain_implementation(size, seed):
    given = parameters(seed)
    rng = np.random.default_rng(seed)
    photo = skimage.data.astronaut()[100 : 100 + size[0], 60 : 60 + size[1]]
    # In flat parts the signs of rounding errors would count.
    noisy = np.clip(photo + rng.normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
    for image in (noisy, rng.integers(0, 256, (*size, 3), dtype=np.uint8)):
        expected = plain_niqe(image, given)
        assert Niqe("p", given)(image) == pytest.approx(expected, rel=1e-6)


def test_gray_image_counts_as_luma():
    gray = np.random.default_rng(0).integers(16, 236, (96, 192), dtype=np.uint8)
    assert Niqe("p", parameters())(gray) > 0


def test_names_and_shapes_of_the_authors_program_are_accepted():
    given = parameters()
    theirs = {
        "mu_prisparam": given["mu_pris_param"][0],
        "cov_prisparam": given["cov_pris_param"],
    }
    image = skimage.data.astronaut()[:96, :192]
    first, second = Niqe("p", given), Niqe("q", theirs)
    assert first(image) == second(image)
    assert first.sha256 == second.sha256 != Niqe("p", parameters(1)).sha256


def test_flat_image_has_no_score():
    assert math.isnan(Niqe("p", parameters())(np.full((200, 200, 3), 90, np.uint8)))


@pytest.mark.parametrize("size", [(95, 500), (96, 191)])
def test_image_of_fewer_than_two_blocks_raises_user_error(size):
    with pytest.raises(UserError, match=f"{size[1]}x{size[0]}"):
        Niqe("p", parameters())(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mu_pris_param": None}, "mu_pris_param"),
        ({"mu_pris_param": np.zeros(35)}, "mu_pris_param"),
        ({"cov_pris_param": np.full((36, 36), np.nan)}, "cov_pris_param"),
        ({"cov_pris_param": np.zeros((36, 36), np.int64)}, "cov_pris_param"),
    ],
)
def test_file_of_other_parameters_raises_data_error_with_its_path(change, named):
    given = {k: v for k, v in {**parameters(), **change}.items() if v is not None}
    with pytest.raises(DataError, match=rf"some\.npz.*{named}"):
        Niqe("some.npz", given)
