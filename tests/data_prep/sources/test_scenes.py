"""Generated scenes do not depend on their number, and are covered, colorful and distinct."""

import numpy as np
import pytest

from data_prep.sources import scenes


def make(**options):
    return scenes.build(scenes.Options(width=32, height=24, **options))


def all_items(source):
    found = source.listing().splits
    return {item.scene: item for items in found.values() for item in items}


def test_scenes_are_split_by_share():
    counts = {name: len(items) for name, items in make(count=40).listing().splits.items()}
    assert counts == {"train": 31, "val": 4, "test": 5}


def test_scenes_load_depends_on_number_and_seed():
    few, many, other = make(count=3), make(count=30), make(count=3, seed=1)
    item = all_items(few)["000002"]
    blurred, image = few.load(item)
    assert blurred is None and image.shape == (24, 32, 3)
    np.testing.assert_array_equal(image, many.load(all_items(many)["000002"])[1])
    assert (image != other.load(item)[1]).any()
    assert (image != few.load(all_items(few)["000001"])[1]).any()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (16, 16)])
def test_draw_scene_returns_colorful_image(height, width):
    scene = scenes.draw_scene(np.random.default_rng(0), height, width)
    assert scene.shape == (height, width, 3) and scene.dtype == np.uint8
    assert scene.std() > 15
    # Not only gray.
    assert (scene.max(axis=-1).astype(int) - scene.min(axis=-1)).mean() > 5


def test_draw_scene_depends_on_seed():
    first, again, other = (
        scenes.draw_scene(np.random.default_rng(seed), 64, 64) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_power_law_radii_have_expected_distribution():
    rng = np.random.default_rng(0)
    radii = np.array([scenes._power_law(rng, 2.0, 100.0) for _ in range(20_000)])
    assert radii.min() >= 2 and radii.max() <= 100
    # The fraction above r is proportional to 1 / r^2.
    assert (radii > 4).mean() == pytest.approx(0.25, abs=0.015)
    assert (radii > 8).mean() == pytest.approx(0.0625, abs=0.01)


def test_distance_yields_antialiased_edges():
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[-20:21, -20:21].astype(np.float32)
    for _ in range(40):
        cover = np.clip(0.5 - scenes._distance(rng, columns, rows, 12.0), 0, 1)
        assert cover[20, 20] == 1
        assert cover[0].max() == 0 or cover[:, 0].max() == 0 or cover.mean() < 0.9
        between = ((cover > 0.02) & (cover < 0.98)).sum()
        assert 8 < between < 250


def test_hsv_pure_hues_are_exact():
    colors = [scenes._hsv(hue, 1.0, 1.0) for hue in (0, 1 / 6, 1 / 3, 2 / 3, 1)]
    np.testing.assert_allclose(
        colors, [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-9
    )
