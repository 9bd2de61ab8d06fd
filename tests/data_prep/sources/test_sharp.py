"""Photographs with synthetic blur."""

import numpy as np
import pytest

from data_prep.sources import sharp
from tests.helpers.raw_data import picture, save
from tfdeblur.errors import DataError


def make(root, **options):
    return sharp.build(sharp.Options(source=str(root), **options))


def test_sharp_photographs_are_scenes(photos):
    save(photos / "more" / "photo0.jpg", picture(8, 20, 50))
    (photos / "readme.txt").write_text("not a picture")
    source = make(photos)
    found = source.listing()
    assert {name: len(items) for name, items in found.splits.items()} == {
        "train": 5,
        "val": 1,
        "test": 1,
    }
    items = {item.scene: item for items in found.splits.values() for item in items}
    assert set(items) == {"more/photo0", *(f"photo{n}" for n in range(6))}
    assert (items["more/photo0"].width, items["more/photo0"].height) == (20, 50)
    blurred, image = source.load(items["photo3"])
    assert blurred is None
    np.testing.assert_array_equal(image, picture(3))


def test_sharp_copies_are_in_one_split(photos):
    splits = make(photos, copies=3).listing().splits
    assert sum(map(len, splits.values())) == 18
    assert [item.frame for item in splits["val"]] == ["000", "001", "002"]
    assert len({item.scene for item in splits["val"]}) == 1


def test_sharp_options_select_blur(photos):
    assert make(photos).blur.describe()["kind"] == "trajectory"
    described = make(photos, length=20.0, linear_light=True).blur.describe()
    assert (described["length"], described["gamma"]) == (20.0, 2.2)
    described = make(photos, blur="gaussian", max_sigma=1.0).blur.describe()
    assert (described["kind"], described["sigma"]) == ("gaussian", [0.0, 1.0])


def test_sharp_names_equal_without_extension_raise(photos):
    save(photos / "photo1.jpg", picture(1))
    with pytest.raises(DataError, match=r"photo1\.jpg and .*photo1\.png"):
        make(photos).listing()


def test_sharp_without_photographs_raises(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"folder of photographs .*notes\.txt"):
        make(tmp_path).listing()
    with pytest.raises(DataError, match="nothing"):
        make(tmp_path / "nothing").listing()


def test_sharp_real_photographs_are_listed(real_data):
    splits = make(real_data / "sharp" / "kodak").listing().splits
    assert sum(map(len, splits.values())) == 12
