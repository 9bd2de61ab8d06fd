"""Generated scenes do not depend on their number."""

import numpy as np

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
