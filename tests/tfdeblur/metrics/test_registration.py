"""PSNR and SSIM of images that are registered to their targets first."""

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tfdeblur.metrics.registration import metrics_for, register


@pytest.fixture(scope="module")
def sharp():
    rng = np.random.default_rng(0)
    noise = rng.random((24, 28, 3), np.float32)
    return np.clip(cv2.resize(noise, (168, 144), interpolation=cv2.INTER_CUBIC), 0, 1)


def warped(image, matrix):
    height, width = image.shape[:2]
    flags = cv2.INTER_CUBIC
    border = cv2.BORDER_REFLECT
    if len(matrix) == 3:
        return cv2.warpPerspective(image, matrix, (width, height), flags=flags, borderMode=border)
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=border)


TRANSLATION = np.array([[1, 0, 1.6], [0, 1, -2.3]], np.float32)
HOMOGRAPHY = np.array([[1.01, 0.004, -1.5], [-0.003, 0.995, 1.2], [2e-5, -1e-5, 1]], np.float32)


def test_parts_of_a_pixel_are_undone(sharp):
    moved, inside = register(sharp, 0.8 * warped(sharp, TRANSLATION), "translation")
    assert inside.shape == (144, 168, 1) and set(np.unique(inside)) == {0.0, 1.0}
    assert 0.9 < inside.mean() < 1
    # The protocol scales before it registers, so a small factor remains.
    center = (slice(8, -8), slice(8, -8))
    factor = np.sum((sharp * moved)[center]) / np.sum((moved * moved)[center])
    assert 1 <= factor < 1.1
    assert np.abs(factor * moved - sharp)[center].mean() < 0.01


def test_scores_equal_those_of_the_evaluation_code_of_realblur(sharp):
    restored = np.clip(warped(sharp, HOMOGRAPHY) * 0.9, 0, 1)
    psnr, similarity = (
        m.compute(sharp[None], restored[None])[0] for m in metrics_for("homography")
    )
    # The steps of the benchmark's code, with scikit-image for SSIM.
    scaled = np.sum(sharp * restored) / np.sum(restored * restored) * restored
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (sharp, scaled)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 0)
    start = np.eye(3, dtype=np.float32)
    _, matrix = cv2.findTransformECC(*gray, start, cv2.MOTION_HOMOGRAPHY, criteria, None, 5)
    size = (sharp.shape[1], sharp.shape[0])
    flags = cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(
        scaled, matrix, size, flags=flags | cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    inside = cv2.warpPerspective(np.ones_like(scaled), matrix, size, flags=flags)
    inside = (inside > 0.5).astype(np.float32)
    expected = 10 * np.log10(np.sum(inside) / np.sum((sharp - moved) ** 2 * inside))
    assert psnr == pytest.approx(expected, abs=0.05)
    assert psnr > 30
    _, maps = structural_similarity(
        sharp * inside,
        moved * inside,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    center = (slice(5, -5), slice(5, -5))
    expected = np.sum((maps * inside)[center]) / np.sum(inside[center])
    assert similarity == pytest.approx(expected, abs=1e-3)


def test_translation_does_not_undo_a_homography(sharp):
    restored = warped(sharp, HOMOGRAPHY)
    homography, translation = (
        metrics_for(motion)[0].compute(sharp[None], restored[None])[0]
        for motion in ("homography", "translation")
    )
    assert homography > translation + 3


def test_each_image_of_a_batch_has_its_own_registration(sharp):
    batch = np.stack([sharp, warped(sharp, TRANSLATION)])
    scores = metrics_for("translation")[0].compute(np.stack([sharp, sharp]), batch)
    assert scores.shape == (2,) and (scores > 30).all()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_flat_image_has_no_score(sharp, value):
    psnr, similarity = metrics_for("homography")
    flat = np.full_like(sharp, value)[None]
    assert np.isnan(psnr.compute(sharp[None], flat)[0])
    assert np.isnan(similarity.compute(sharp[None], flat)[0])
