"""RealBlur: scenes, lists, and missing files."""

import pytest

from data_prep.sources import realblur
from tests.helpers.raw_data import REALBLUR, make_realblur
from tfdeblur.errors import DataError

SPLITS = {"train": [f"scene{n:03d}" for n in (1, 3, 4, 5)], "test": ["scene002"]}


def listing(root, **options):
    return realblur.build(realblur.Options(source=str(root), **options)).listing()


@pytest.mark.parametrize("kind", ["J", "R"])
@pytest.mark.parametrize("inside", [False, True])
def test_realblur_published_layout_uses_lists(tmp_path, kind, inside):
    make_realblur(tmp_path, SPLITS, kind)
    found = listing(tmp_path / REALBLUR[kind] if inside else tmp_path, kind=kind)
    assert found.layout == f"published RealBlur-{kind} ({REALBLUR[kind]})"
    assert [item.key for item in found.splits["test"]] == ["scene002/10", "scene002/9"]
    assert {name: len(items) for name, items in found.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    assert f"{tmp_path}/RealBlur_{kind}_test" in found.notes[1]
    item = found.splits["test"][1]
    assert item.blurred.endswith("scene002/blur/blur_9.png")
    assert item.sharp.endswith("scene002/gt/gt_9.png")
    source = realblur.build(realblur.Options(source=str(tmp_path), kind=kind))
    assert source.describe_blur()["track"] == kind


def test_realblur_without_lists_requires_test_scenes(tmp_path):
    make_realblur(tmp_path, SPLITS, listed=False)
    with pytest.raises(DataError, match=r"RealBlur_J_train_list\.txt.*--test-scenes"):
        listing(tmp_path)
    found = listing(tmp_path, test_scenes=("scene00[12]",))
    assert {item.scene for item in found.splits["test"]} == {"scene001", "scene002"}
    (tmp_path / "mine.txt").write_text("scene005\n")
    found = listing(tmp_path, test_list=str(tmp_path / "mine.txt"))
    assert {item.scene for item in found.splits["test"]} == {"scene005"}


def test_realblur_listed_image_missing_raises(tmp_path):
    make_realblur(tmp_path, SPLITS)
    for half in ("gt", "blur"):
        (tmp_path / REALBLUR["J"] / "scene003" / half / f"{half}_9.png").unlink()
    with pytest.raises(DataError, match=r"train_list\.txt, line 3: .*scene003/gt/gt_9\.png"):
        listing(tmp_path)


def test_realblur_missing_half_raises(tmp_path):
    make_realblur(tmp_path, SPLITS)
    path = tmp_path / REALBLUR["J"] / "scene003" / "blur" / "blur_9.png"
    path.unlink()
    with pytest.raises(DataError, match="missing") as caught:
        listing(tmp_path)
    assert str(path) in str(caught.value)


def test_realblur_unknown_layout_raises(tmp_path):
    make_realblur(tmp_path, SPLITS)
    with pytest.raises(DataError, match=r"RealBlur-R\*/sceneNNN.*RealBlur-J_ECC"):
        listing(tmp_path, kind="R")
    with pytest.raises(DataError, match="nothing"):
        listing(tmp_path / "nothing")
    (tmp_path / "RealBlur_J_new").mkdir()
    with pytest.raises(DataError, match=r"RealBlur-J_ECC.*RealBlur_J_new"):
        listing(tmp_path)
