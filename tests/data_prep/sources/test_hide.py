"""HIDE: layouts, and clips that are in both splits."""

import pytest

from data_prep.sources import hide
from tests.helpers.raw_data import make_hide, picture, save
from tfdeblur.errors import DataError


def listing(root, **options):
    return hide.build(hide.Options(source=str(root), val_share=0.0, **options)).listing()


def test_hide_published_layout_is_listed(tmp_path):
    found = listing(make_hide(tmp_path))
    assert found.layout == "published HIDE (train, test-close-ups, test-long-shot)"
    assert [item.key for item in found.splits["train"]] == [
        "train/GOPR1/1fromGOPR1",
        "train/GOPR1/2fromGOPR1",
        "train/GOPR2/1fromGOPR2",
        "train/lone/lone",
    ]
    assert [item.scene for item in found.splits["test"]] == [
        "test-close-ups/GOPR2",
        "test-close-ups/GOPR3",
        "test-long-shot/GOPR3",
    ]
    assert found.notes[0].startswith("Clips in both") and "GOPR2" in found.notes[0]
    item = found.splits["test"][0]
    assert item.blurred.endswith("/test/test-close-ups/6fromGOPR2.png")
    assert item.sharp.endswith("/GT/6fromGOPR2.png")


def test_hide_scenes_select_part_of_test(tmp_path):
    found = listing(make_hide(tmp_path), scenes=("test-long-shot/*", "train/*"))
    assert [item.frame for item in found.splits["test"]] == ["7fromGOPR3"]


def test_hide_absent_parts_are_allowed(tmp_path):
    make_hide(tmp_path, {"test/test-close-ups": ["5fromGOPR3"]})
    save(tmp_path / "GT" / "another.png", picture(0))
    found = listing(tmp_path)
    assert {name: len(items) for name, items in found.splits.items()} == {"test": 1}


def test_hide_input_layout_is_listed(tmp_path):
    for split, names in {"train": ["1fromA", "2fromA"], "test": ["3fromB"]}.items():
        for half in ("input", "target"):
            for name in names:
                save(tmp_path / split / half / f"{name}.png", picture(0))
    found = listing(tmp_path)
    assert found.layout == "input/target HIDE (train, test)"
    assert [item.key for item in found.splits["test"]] == ["test/B/3fromB"]
    assert not found.notes


def test_hide_missing_sharp_half_raises(tmp_path):
    make_hide(tmp_path)
    (tmp_path / "GT" / "5fromGOPR3.png").unlink()
    with pytest.raises(DataError, match=r"GT/5fromGOPR3\.png"):
        listing(tmp_path)


def test_hide_unknown_layout_raises(tmp_path):
    save(tmp_path / "blurred" / "a.png", picture(0))
    with pytest.raises(DataError, match=r"train/NAME\.png, test/.*blurred"):
        listing(tmp_path)
