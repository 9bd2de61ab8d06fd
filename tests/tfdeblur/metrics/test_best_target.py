"""PSNR against the best of several targets."""

import itertools

import numpy as np
import pytest

from tfdeblur.metrics.best_target import psnr_moved_db, with_targets


@pytest.fixture
def large():
    return np.random.default_rng(0).random((24, 27, 3)).astype(np.float32)


def reference_db(target, restored):
    """The benchmark's steps one after another: scale, register by trying all shifts, PSNR."""
    scaled = restored * (target * restored).sum() / (restored * restored).sum()
    height, width = target.shape[:2]

    def likeness(shift):
        return (np.roll(scaled, shift, (0, 1)).mean(axis=2) * target.mean(axis=2)).sum()

    shifts = itertools.product(range(-height // 2, height // 2), range(-width // 2, width // 2))
    down, right = max(shifts, key=likeness)
    rows, columns = np.arange(height)[:, None] - down, np.arange(width)[None] - right
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved = np.roll(scaled, (down, right), (0, 1)) * inside[..., None]
    error = (target * inside[..., None] - moved) @ [0.299, 0.587, 0.114]
    return -10 * np.log10((error**2).mean())


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-3, 4)])
def test_psnr_moved_follows_the_steps_of_the_benchmark(large, down, right):
    target = large[4:20, 4:22]
    noise = np.random.default_rng(1).normal(0, 0.02, target.shape).astype(np.float32)
    restored = 0.6 * large[4 + down : 20 + down, 4 + right : 22 + right] + noise
    assert psnr_moved_db(target, restored) == pytest.approx(reference_db(target, restored))


def test_psnr_moved_of_a_darker_copy_is_exact_and_of_black_is_finite(large):
    assert psnr_moved_db(large, large / 2) > 100
    expected = -10 * np.log10(((large @ [0.299, 0.587, 0.114]) ** 2).mean())
    assert psnr_moved_db(large, np.zeros_like(large)) == pytest.approx(expected)


def test_best_target_counts_and_black_padding_has_none(large):
    first, second, pair = large[:16], large[4:20], large[8:24]
    black = np.zeros_like(pair)
    targets = {pair.tobytes(): [first, second]}
    (metric,) = with_targets(lambda sharp: targets[sharp.tobytes()])
    found = metric.compute(np.stack([pair, black]), np.stack([second, black]))
    assert found[0] > 100 and np.isinf(found[1])
