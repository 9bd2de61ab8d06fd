"""Motion measurement and frame interpolation."""

import builtins
import functools

import numpy as np
import pytest

from data_prep import motion
from data_prep.sources import scenes
from tfdeblur.errors import UserError

cv2 = pytest.importorskip("cv2")


@functools.cache
def scene(seed, height, width):
    return scenes.draw_scene(np.random.default_rng(seed), height, width)


def shifted(x, y=0.0, width=160, height=120, seed=3):
    """Returns a crop of a generated scene at an offset, so that the true motion is known."""
    large = cv2.GaussianBlur(scene(seed, 2 * height, 2 * width), (0, 0), 1)
    turn = np.float32([[1, 0, x - width / 2], [0, 1, y - height / 2]])
    return cv2.warpAffine(large, turn, (width, height), flags=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 0), (4, -3), (0.5, 0)])
def test_measure_shift_is_recovered(x, y):
    found = motion.measure(shifted(0), shifted(x, y))
    assert found.median == pytest.approx(np.hypot(x, y), abs=0.3)
    assert found.high < np.hypot(x, y) + 2


def test_measure_large_frame_is_in_original_pixels():
    frames = [cv2.resize(shifted(x), (1600, 1200)) for x in (0, 1.5)]
    assert motion.measure(*frames).median == pytest.approx(15, rel=0.2)


def test_measure_small_fast_object_raises_high_percentile():
    before, after = shifted(0), shifted(0)
    after[20:70, 40:100] = shifted(6)[20:70, 40:100]
    found = motion.measure(before, after)
    assert found.median < 0.5 and found.high > 3


def test_between_shifted_frames_matches_true_motion():
    before, after = shifted(0), shifted(6, 2)
    light = tuple(frame.astype(np.float32) for frame in (before, after))
    inner = np.s_[12:-12, 12:-12]
    for time, made in zip(
        (0.25, 0.5, 0.75), motion.between(before, after, light, (0.25, 0.5, 0.75)), strict=True
    ):
        assert made.dtype == np.float32 and made.shape == before.shape
        target = shifted(6 * time, 2 * time).astype(float)
        ghosts = (1 - time) * light[0] + time * light[1]
        error = np.abs(made - target)[inner].mean()
        assert error < np.abs(ghosts - target)[inner].mean() / 4


def test_between_equal_frames_is_identity():
    frame = shifted(0)
    light = (frame.astype(np.float32),) * 2
    (made,) = motion.between(frame, frame, light, (0.5,))
    np.testing.assert_allclose(made, light[0], atol=0.05)


def test_opencv_missing_names_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "cv2":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"tfdeblur\[video\]"):
        motion.opencv()
