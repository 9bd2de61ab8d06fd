"""Measurements of pairs: subpixel shifts, tone, sharpness, hashes."""

import numpy as np
import pytest

from data_prep.checks import measures
from tests.helpers import faulty_data as faulty


def gray(seed, **how):
    blurred, sharp = faulty.pair(seed, **how)
    return measures.luma(blurred), measures.luma(sharp)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [(0, 0), (0, 3), (-2, 0), (4, -5), (0.5, 0.25), (-1.4, 2.6)])
def test_shift_subpixel_offset_is_recovered(seed, offset):
    """A phase in the spectrum shifts an image exactly, away from its edges."""
    wide = measures.luma(faulty.scene(seed, 120, 100))
    wide -= wide.mean()
    wide *= np.outer(np.hanning(100), np.hanning(120))
    phase = np.add.outer(offset[0] * np.fft.fftfreq(100), offset[1] * np.fft.fftfreq(120))
    moved = np.fft.ifft2(np.fft.fft2(wide) * np.exp(-2j * np.pi * phase)).real
    found = measures.shift(moved + 128, wide + 128)
    np.testing.assert_allclose(found, offset, atol=0.15)


@pytest.mark.parametrize("seed", range(6))
def test_shift_centered_blur_is_near_zero(seed):
    assert np.hypot(*measures.shift(*gray(seed))) < 1


def test_shift_large_image_is_in_original_pixels():
    wide = np.repeat(np.repeat(measures.luma(faulty.scene(1, 250, 60)), 8, 0), 8, 1)
    found = measures.shift(wide[:, 16:-16], wide[:, 28:-4])
    np.testing.assert_allclose(found, (0, 12), atol=1)


@pytest.mark.parametrize(("gamma", "seed"), [(g, s) for g in (1.0, 2.2) for s in range(5)])
def test_tone_of_average_is_gamma(gamma, seed):
    """With cyclic motion, the mean of light is preserved exactly."""
    wide = faulty.scene(seed).astype(float) / 255
    blurred = np.mean([np.roll(wide, step, 1) ** gamma for step in range(-4, 5)], 0) ** (1 / gamma)
    halves = [np.round(255 * half).astype(np.uint8) for half in (blurred, wide)]
    assert measures.tone(*halves) == pytest.approx(gamma, abs=0.1)


def test_tone_of_identical_halves_is_none():
    _, sharp = faulty.pair(0)
    assert measures.tone(sharp, sharp) is None


def test_softening_with_noise_in_blur_is_above_one():
    blurred, sharp = gray(0)
    assert measures.softening(blurred, sharp) > 1.5
    assert measures.softening(sharp, blurred) < 1 / 1.5
    noise = np.random.default_rng(0).normal(0, 12, blurred.shape)
    assert measures.softening(blurred + noise, sharp) > 1.05


def test_psnr_matches_definition():
    one = np.zeros((4, 4, 3), np.uint8)
    assert measures.psnr(one, one + 5) == pytest.approx(10 * np.log10(255**2 / 25))
    assert measures.psnr(one, one) == np.inf


def bits(one, two):
    return bin(one ^ two).count("1")


def test_difference_hash_similar_images_are_close():
    hashes = []
    for seed in range(6):
        _, sharp = gray(seed)
        own = measures.difference_hash(sharp)
        assert bits(own, measures.difference_hash(np.clip(0.9 * sharp + 9, 0, 255))) <= 6
        assert bits(own, measures.difference_hash(np.repeat(np.repeat(sharp, 2, 0), 2, 1))) <= 6
        hashes.append(own)
    assert all(bits(a, b) > 10 for i, a in enumerate(hashes) for b in hashes[:i])


def test_thumbnail_is_mean_of_parts():
    picture = np.arange(32 * 48, dtype=np.float32).reshape(32, 48)
    expected = picture.reshape(16, 2, 16, 3).mean((1, 3))
    np.testing.assert_allclose(measures.thumbnail(picture), expected, rtol=1e-5)
    tiny = measures.thumbnail(picture[:5, :7])
    assert tiny.shape == (16, 16) and tiny.min() >= 0 and tiny.max() <= picture[:5, :7].max()


def test_digest_depends_on_pixels_and_shape():
    one = np.zeros((4, 6, 3), np.uint8)
    assert measures.digest(one) == measures.digest(one.copy())
    assert measures.digest(one) != measures.digest(one.reshape(6, 4, 3))
    assert measures.digest(one) != measures.digest(one + 1)
