"""RSBlur: sessions, scenes within them, and lists."""

import pytest

from data_prep.sources import rsblur
from tests.helpers.raw_data import picture, save
from tfdeblur.errors import DataError

HALVES = ("gt/gt_sharp.png", "real_blur/real_blur.png")
# Two sessions with the same numbers; in each, scenes of several splits.
SPLITS = {
    "train": ["0001/000022", "0001/000041", "0002/000003"],
    "val": ["0002/000022"],
    "test": ["0001/000042", "0001/000061"],
}


def make(root, splits=SPLITS, listed=True):
    """Writes the published layout below `root`."""
    for split, names in splits.items():
        lines = []
        for name in names:
            halves = [f"RSBlur/{name}/{half}" for half in HALVES]
            for seed, half in enumerate(halves):
                save(root / half, picture(int(name[-3:]) + seed))
            lines.append(" ".join(halves))
        if listed:
            path = root / f"RSBlur_real_{split}.txt"
            path.write_text("\n".join(lines) + "\n")
    return root


def listing(root, **options):
    return rsblur.build(rsblur.Options(source=str(root), **options)).listing()


@pytest.mark.parametrize("inside", [False, True])
def test_rsblur_published_layout_uses_lists(tmp_path, inside):
    make(tmp_path)
    found = listing(tmp_path / "RSBlur" if inside else tmp_path)
    assert found.layout == "published RSBlur"
    keys = {split: [item.key for item in items] for split, items in found.splits.items()}
    assert keys == {
        "train": ["0001/000022/000022", "0001/000022/000041", "0002/000002/000003"],
        "val": ["0002/000022/000022"],
        "test": ["0001/000042/000042", "0001/000042/000061"],
    }
    item = found.splits["val"][0]
    assert item.blurred.endswith("RSBlur/0002/000022/real_blur/real_blur.png")
    assert item.sharp.endswith("RSBlur/0002/000022/gt/gt_sharp.png")


def test_rsblur_list_that_divides_a_scene_raises(tmp_path):
    make(tmp_path, {**SPLITS, "test": ["0001/000040"]})
    with pytest.raises(DataError, match="0001/000022"):
        listing(tmp_path)


def test_rsblur_without_lists_requires_test_scenes(tmp_path):
    make(tmp_path, listed=False)
    with pytest.raises(DataError, match=r"RSBlur_real_train\.txt.*--test-scenes"):
        listing(tmp_path)
    found = listing(tmp_path, test_scenes=("0001/000042",))
    assert {item.scene for item in found.splits["test"]} == {"0001/000042"}


def test_rsblur_missing_half_raises(tmp_path):
    make(tmp_path)
    path = tmp_path / "RSBlur" / "0002" / "000003" / "gt" / "gt_sharp.png"
    path.unlink()
    with pytest.raises(DataError, match="missing") as caught:
        listing(tmp_path)
    assert str(path) in str(caught.value)


def test_rsblur_unknown_layout_raises(tmp_path):
    (tmp_path / "0001").mkdir()
    with pytest.raises(DataError, match=r"gt_sharp\.png.*0001"):
        listing(tmp_path)
    with pytest.raises(DataError, match="nothing"):
        listing(tmp_path / "nothing")


def test_rsblur_is_recognized(tmp_path):
    make(tmp_path)
    for place in (tmp_path, tmp_path / "RSBlur"):
        assert rsblur.recognize(str(place)) == [{"source": str(place)}]
    assert rsblur.recognize(str(tmp_path / "RSBlur" / "0001")) == []
