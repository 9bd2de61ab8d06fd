"""REDS: tracks, splits, and scene numbers that occur twice."""

import pytest

from data_prep.sources import reds
from tests.helpers.raw_data import make_reds
from tfdeblur.errors import DataError


def listing(root, **options):
    return reds.build(reds.Options(source=str(root), **options)).listing()


def scenes(found, split):
    return sorted({item.scene for item in found.splits[split]})


def test_reds_official_val_is_test_split(tmp_path):
    make_reds(tmp_path, {"train": [f"{n:03d}" for n in range(8)], "val": ["000", "001"]})
    found = listing(tmp_path)
    assert found.layout == "native REDS, track blur (train_blur and val_blur)"
    assert scenes(found, "test") == ["val/000", "val/001"]
    assert len(scenes(found, "val")) == 1 and len(scenes(found, "train")) == 7
    item = found.splits["test"][1]
    assert (item.frame, item.width, item.height) == ("00000001", 40, 30)
    assert item.blurred.endswith("/val_blur/000/00000001.png")
    assert item.sharp.endswith("/val_sharp/000/00000001.png")


def test_reds_single_scene_is_train_only(tmp_path):
    make_reds(tmp_path, {"train": ["020"]}, frames=3)
    found = listing(tmp_path)
    assert set(found.splits) == {"train"} and len(found.splits["train"]) == 3
    assert "'train/020'" in found.notes[0]


def test_reds_scene_names_with_or_without_part(tmp_path):
    make_reds(tmp_path, {"train": ["000", "011", "012"], "val": ["000"]})
    found = listing(tmp_path, test_scenes=("train/000", "011"), val_share=0.0)
    assert scenes(found, "test") == ["train/000", "train/011"]
    assert scenes(found, "train") == ["train/012", "val/000"]


@pytest.mark.parametrize(
    ("track", "blurred", "sharp"),
    [
        ("blur_comp", "blur_comp", "sharp"),
        ("blur_bicubic", "blur_bicubic/X4", "sharp_bicubic/X4"),
    ],
)
def test_reds_track_selects_folders(tmp_path, track, blurred, sharp):
    make_reds(tmp_path, {"train": ["027", "028"]}, blurred=blurred, sharp=sharp)
    source = reds.build(reds.Options(source=str(tmp_path), track=track))
    item = source.listing().splits["train"][0]
    assert f"train_{blurred}/" in item.blurred and f"train_{sharp}/" in item.sharp
    assert source.describe_blur()["track"] == track
    with pytest.raises(DataError, match=f"train_blur_jpeg.*train_{track}"):
        listing(tmp_path, track="blur_jpeg")


def test_reds_parts_in_subfolders_are_found(tmp_path):
    make_reds(tmp_path / "train", {"train": ["000", "001"]})
    make_reds(tmp_path / "val", {"val": ["000"]})
    found = listing(tmp_path)
    assert scenes(found, "test") == ["val/000"]


def test_reds_scene_without_sharp_half_raises(tmp_path):
    make_reds(tmp_path, {"train": ["000"]})
    (tmp_path / "train_blur" / "001").mkdir()
    with pytest.raises(DataError, match=r"train/001: .*train_sharp/001"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("track", "scene", "count", "size"),
    [("blur", "train/020", 4, (1280, 720)), ("blur_bicubic", "train/027", 40, (320, 180))],
)
def test_reds_real_pairs_are_listed(real_data, track, scene, count, size):
    items = listing(real_data / "reds", track=track).splits["train"]
    assert len(items) == count
    assert {(item.scene, item.width, item.height) for item in items} == {(scene, *size)}
