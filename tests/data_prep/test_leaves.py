"""Generated scenes are covered, colorful and distinct, with antialiased edges."""

import numpy as np
import pytest

from data_prep import leaves


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (16, 16)])
def test_draw_scene_returns_colorful_image(height, width):
    scene = leaves.draw_scene(np.random.default_rng(0), height, width)
    assert scene.shape == (height, width, 3) and scene.dtype == np.uint8
    assert scene.std() > 15
    # Not only gray.
    assert (scene.max(axis=-1).astype(int) - scene.min(axis=-1)).mean() > 5


def test_draw_scene_depends_on_seed():
    first, again, other = (
        leaves.draw_scene(np.random.default_rng(seed), 64, 64) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_power_law_radii_have_expected_distribution():
    rng = np.random.default_rng(0)
    radii = np.array([leaves._power_law(rng, 2.0, 100.0) for _ in range(20_000)])
    assert radii.min() >= 2 and radii.max() <= 100
    # The fraction above r is proportional to 1 / r^2.
    assert (radii > 4).mean() == pytest.approx(0.25, abs=0.015)
    assert (radii > 8).mean() == pytest.approx(0.0625, abs=0.01)


def test_distance_yields_antialiased_edges():
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[-20:21, -20:21].astype(np.float32)
    for _ in range(40):
        cover = np.clip(0.5 - leaves._distance(rng, columns, rows, 12.0), 0, 1)
        assert cover[20, 20] == 1
        assert cover[0].max() == 0 or cover[:, 0].max() == 0 or cover.mean() < 0.9
        between = ((cover > 0.02) & (cover < 0.98)).sum()
        assert 8 < between < 250


def test_hsv_pure_hues_are_exact():
    colors = [leaves._hsv(hue, 1.0, 1.0) for hue in (0, 1 / 6, 1 / 3, 2 / 3, 1)]
    np.testing.assert_allclose(
        colors, [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-9
    )
