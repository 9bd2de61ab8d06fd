"""Summaries and bootstrap intervals against known answers."""

import math

import numpy as np
import pytest

from tfdeblur.evaluation.statistics import Summary, gains, ratio_interval


def test_summary_equals_numpy():
    values = np.array([3.0, 1.0, math.nan, 2.0, 10.0])
    found = Summary.of(values)
    assert (found.mean, found.median, found.least, found.most) == (4.0, 2.5, 1.0, 10.0)
    assert found.count == 4
    assert found.deviation == pytest.approx(np.std([3, 1, 2, 10], ddof=1))
    assert found.low < found.median < found.high
    assert math.isnan(Summary.of(np.array([math.nan])).mean)
    assert math.isnan(Summary.of(np.array([1.0])).deviation)


def test_interval_of_a_normal_mean_equals_the_formula():
    values = np.random.default_rng(1).normal(0.5, 2.0, (400, 1))
    (gain,) = gains(values, [str(i) for i in range(400)])
    half = 1.96 * np.std(values, ddof=1) / np.sqrt(400)
    low, high = gain.by_image
    assert gain.mean == pytest.approx(values.mean())
    assert low == pytest.approx(gain.mean - half, abs=0.03)
    assert high == pytest.approx(gain.mean + half, abs=0.03)
    # Scenes of one image each are images.
    assert gain.by_scene == pytest.approx(gain.by_image, abs=0.03)
    assert gain.share_better == pytest.approx(np.mean(values > 0))


def test_similar_images_within_scenes_widen_the_interval_by_scene():
    rng = np.random.default_rng(2)
    scenes = np.repeat(np.arange(10), 30)
    values = (rng.normal(0, 1, 10)[scenes] + rng.normal(0, 0.1, 300))[:, None]
    (gain,) = gains(values, [str(s) for s in scenes])
    widths = [high - low for low, high in (gain.by_image, gain.by_scene)]
    assert widths[1] > 3 * widths[0]


def test_intervals_are_seeded_and_independent_of_other_columns():
    values = np.random.default_rng(3).normal(size=(20, 2))
    scenes = ["a", "b"] * 10
    both = gains(values, scenes)
    assert gains(values, scenes) == both
    assert gains(values[:, 1:], scenes)[0].by_image == pytest.approx(both[1].by_image)


def test_too_few_values_have_no_interval():
    (one,) = gains(np.array([[1.0], [math.nan]]), ["a", "b"])
    assert (one.mean, one.by_image, one.by_scene, one.count) == (1.0, None, None, 1)
    (none,) = gains(np.array([[math.nan]]), ["a"])
    assert math.isnan(none.mean) and math.isnan(none.share_better)
    (same_scene,) = gains(np.array([[1.0], [2.0]]), ["a", "a"])
    assert same_scene.by_scene is None
    assert 1.0 <= same_scene.by_image[0] <= same_scene.by_image[1] <= 2.0


def test_ratio_of_proportional_sums_has_no_width():
    low, high = ratio_interval(np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 6, 8]))
    assert (low, high) == (0.5, 0.5)
