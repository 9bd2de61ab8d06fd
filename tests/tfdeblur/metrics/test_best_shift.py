"""PSNR and SSIM at the best whole-pixel shift."""

import numpy as np
import pytest

from tfdeblur.metrics.best_shift import aligned, with_reach
from tfdeblur.metrics.psnr import psnr_db
from tfdeblur.metrics.ssim import ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    large = rng.random((3, 26, 28, 3), np.float32)
    sharp = large[:, 3:-3, 3:-3]
    shifts = [(0, 0), (2, -1), (-3, 3)]
    moved = np.stack([large[i, 3 + y : 23 + y, 3 + x : 25 + x] for i, (y, x) in enumerate(shifts)])
    return sharp, moved + np.float32(0.01)


def test_each_image_has_its_own_shift(pair):
    sharp, restored = pair
    center, best = (np.asarray(images) for images in aligned(sharp, restored, 3))
    np.testing.assert_array_equal(center, sharp[:, 3:-3, 3:-3])
    np.testing.assert_allclose(best, center + 0.01, atol=1e-6)


def test_metrics_are_those_of_the_aligned_images(pair):
    psnr, similarity = (np.asarray(metric.compute(*pair)) for metric in with_reach(3))
    np.testing.assert_allclose(psnr, 40, atol=1e-3)
    assert (similarity > 0.99).all()
    unaligned = np.asarray(psnr_db(*pair))
    assert unaligned[1] < 15 and unaligned[2] < 15
    # A shift that is out of reach is not found.
    near = np.asarray(with_reach(1)[0].compute(*pair))
    assert near[0] > 39 and near[1] < 15
    center = np.asarray(pair[0])[:, 3:-3, 3:-3]
    np.testing.assert_allclose(similarity, ssim(center, center + np.float32(0.01)), atol=1e-4)


def test_images_must_hold_the_border_and_the_window():
    psnr, similarity = with_reach(4)
    assert psnr.fits(9, 9) and not psnr.fits(8, 20)
    assert similarity.fits(19, 19) and not similarity.fits(18, 30)
