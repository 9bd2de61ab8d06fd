"""Flicker: differences of neighboring frames beyond those of the input."""

import numpy as np
import pytest

from tests.helpers.filming import make
from tfdeblur.inference import video
from tfdeblur.inference.video.flicker import FlickerMeter


def frames(*levels, dtype=np.uint8):
    return np.stack([np.full((4, 6, 3), level, dtype) for level in levels])


def test_flicker_of_a_still_video_is_the_difference_of_the_restored_frames():
    meter = FlickerMeter()
    # In two batches: the pair across their border counts as well.
    meter.add(frames(100, 100), frames(100, 104))
    meter.add(frames(100, 100), frames(100, 104))
    found = meter.result()
    assert (found.before, found.after, found.excess, found.pairs) == (0, 4, 4, 3)


def test_change_that_the_input_has_is_not_flicker():
    meter = FlickerMeter()
    meter.add(frames(100, 110, 100), frames(100, 108, 100))
    found = meter.result()
    assert found.before == 10 and found.after == 8 and found.excess == 0


def test_excess_counts_single_pixels():
    before, after = frames(100, 101), frames(100, 100)
    after[1, :, :3] += 3
    meter = FlickerMeter()
    meter.add(before, after)
    # Half of the pixels change by 3 instead of 1, the others not at all.
    assert meter.result().after == pytest.approx(1.5)
    assert meter.result().excess == pytest.approx(1.0)


def test_sixteen_bits_are_scaled_to_steps_of_eight():
    meter = FlickerMeter()
    meter.add(frames(0, 0, dtype=np.uint16), frames(0, 65535, dtype=np.uint16))
    assert meter.result().after == pytest.approx(255)


def test_single_frame_has_no_flicker():
    meter = FlickerMeter()
    meter.add(frames(1), frames(2))
    assert meter.result() is None


def test_rewrite_returns_the_flicker_of_its_frames(tmp_path):
    path = make(str(tmp_path / "a.mp4"), sound=None)
    turn = iter(range(100))

    def blink(pixels):
        return np.stack([frame // 2 + 40 * (next(turn) % 2) for frame in pixels]).astype(np.uint8)

    assert video.rewrite(path, str(tmp_path / "b.mp4"), blink).excess > 10
    same = video.rewrite(path, str(tmp_path / "c.mp4"), lambda pixels: pixels)
    assert same.excess == 0 and same.before == same.after
