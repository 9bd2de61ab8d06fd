"""GoPro: layouts, the two kinds of blur, and faults."""

import shutil

import numpy as np
import pytest

from data_prep.sources import gopro as module
from tests.helpers.raw_data import make_gopro, picture, save
from tfdeblur.errors import DataError


def listing(root, **options):
    return module.build(module.Options(source=str(root), **options)).listing()


def test_gopro_native_layout_is_listed(gopro):
    splits = listing(gopro).splits
    assert {name: len(items) for name, items in splits.items()} == {"train": 6, "val": 2, "test": 2}
    item = splits["test"][0]
    assert (item.scene, item.frame, item.width, item.height) == ("GOPR09", "000001", 40, 30)
    keys = [item.key for item in splits["train"]]
    assert keys == sorted(keys)
    blurred, sharp = module.build(module.Options(source=str(gopro))).load(item)
    assert blurred.shape == sharp.shape == (30, 40, 3)
    assert (blurred != sharp).any()
    assert item.blurred.endswith("/blur/000001.png") and item.sharp.endswith("/sharp/000001.png")


def test_gopro_test_folder_only(tmp_path):
    make_gopro(tmp_path, {"test": ["A", "B", "C"]})
    found = listing(tmp_path)
    assert set(found.splits) == {"test"} and "No train split" in found.notes[0]
    found = listing(tmp_path, test_scenes=("C",), val_scenes=("B",))
    assert [items[0].scene for items in found.splits.values()] == ["A", "B", "C"]


def test_gopro_gamma_selects_folder(tmp_path):
    make_gopro(tmp_path, {"train": ["A", "B"]}, folders=("blur", "blur_gamma", "sharp"))
    for gamma, folder in (("linear", "/blur/"), ("gamma", "/blur_gamma/")):
        source = module.build(module.Options(source=str(tmp_path), gamma=gamma))
        items = source.listing().splits["train"]
        assert items and all(folder in item.blurred for item in items)
        blur = source.describe_blur()
        assert (blur["gamma"], blur["folder"]) == (gamma, folder.strip("/"))


def test_gopro_scene_without_selected_blur_raises(gopro):
    with pytest.raises(DataError, match=r"GOPR01/blur_gamma; .*GOPR01 contains blur, sharp"):
        listing(gopro, gamma="gamma")


@pytest.mark.parametrize(("gone", "half"), [("blur", "blurred"), ("sharp", "sharp")])
def test_gopro_missing_half_raises(gopro, gone, half):
    path = gopro / "train" / "GOPR02" / gone / "000002.png"
    path.unlink()
    with pytest.raises(DataError, match=f"the {half} half.*missing") as caught:
        listing(gopro)
    assert str(path) in str(caught.value)


def test_gopro_several_missing_halves_are_counted(gopro):
    for path in (gopro / "test" / "GOPR09" / "sharp").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"000001\.png, .* and 1 more\."):
        listing(gopro)


def test_gopro_halves_of_two_sizes_raise(gopro):
    path = save(gopro / "train" / "GOPR03" / "blur" / "000001.png", picture(0, 41, 30))
    with pytest.raises(DataError, match=r"41x30.*40x30") as caught:
        listing(gopro)
    assert str(path) in str(caught.value)


def test_gopro_unreadable_half_raises(gopro):
    path = gopro / "train" / "GOPR03" / "sharp" / "000002.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match="not an image") as caught:
        listing(gopro)
    assert str(path) in str(caught.value)


def test_gopro_empty_scene_raises(gopro):
    for half in ("blur", "sharp"):
        for path in (gopro / "train" / "GOPR01" / half).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="GOPR01/blur"):
        listing(gopro)


def test_gopro_unknown_layout_raises(tmp_path):
    save(tmp_path / "input" / "a.png", picture(0))
    save(tmp_path / "target" / "a.png", picture(0))
    with pytest.raises(DataError, match=r"train/SCENE/blur/.*input, target"):
        listing(tmp_path)
    shutil.rmtree(tmp_path / "input")
    with pytest.raises(DataError, match="nothing"):
        listing(tmp_path / "nothing")


def test_gopro_scene_in_two_splits_raises(tmp_path):
    make_gopro(tmp_path, {"train": ["A", "B"], "test": ["A"]})
    with pytest.raises(DataError, match=r"'A'.*train and test"):
        listing(tmp_path)


def test_gopro_real_pairs_are_listed(real_data):
    found = listing(
        real_data / "gopro", test_scenes=("*0854*", "*0862*", "*0871*"), val_scenes=("*0396*",)
    )
    assert {name: len(items) for name, items in found.splits.items()} == {
        "train": 3,
        "val": 1,
        "test": 3,
    }
    assert {(item.width, item.height) for item in found.splits["test"]} == {(1280, 720)}


def test_gopro_real_blur_preserves_expected_mean(real_data):
    options = module.Options(source=str(real_data / "gopro"), scenes=("*0396*",))
    source = module.build(options)
    (item,) = source.listing().splits["test"]
    linear, sharp = (half / 255.0 for half in source.load(item))
    options = module.Options(source=str(real_data / "gopro"), scenes=("*0396*",), gamma="gamma")
    source = module.build(options)
    gamma = source.load(source.listing().splits["test"][0])[0] / 255.0
    # Averaging pixel values preserves their mean; averaging light preserves the mean of light.
    assert abs(linear.mean() - sharp.mean()) < 1e-3 < abs(gamma.mean() - sharp.mean())
    light = [np.mean(image**2.2) for image in (linear, sharp, gamma)]
    assert abs(light[2] - light[1]) < 1e-3 < abs(light[0] - light[1])


@pytest.mark.parametrize(
    ("layout", "halves", "joint"),
    [
        ("flattened", ("blur", "sharp"), "_"),
        ("flattened", ("blur", "sharp"), "-"),
        ("input/target", ("input", "target"), "-"),
    ],
)
def test_gopro_flattened_and_input_layouts_are_listed(tmp_path, layout, halves, joint):
    for split, scenes in {"train": ["GOPR0372_07_00", "park"], "test": ["GOPR0384_11_05"]}.items():
        for scene in scenes:
            for frame in ("000047", "000048_s002"):
                for half in halves:
                    save(tmp_path / split / half / f"{scene}{joint}{frame}.png", picture(0))
    found = listing(tmp_path, val_share=0.0)
    assert found.layout == f"{layout} GoPro (train, test)"
    assert [item.key for item in found.splits["train"]] == [
        "GOPR0372_07_00/000047",
        "GOPR0372_07_00/000048_s002",
        "park/000047",
        "park/000048_s002",
    ]
    assert {item.scene for item in found.splits["test"]} == {"GOPR0384_11_05"}
    assert bool(found.notes) is (layout == "input/target")
    save(tmp_path / "train" / halves[0] / "odd.png", picture(0))
    save(tmp_path / "train" / halves[1] / "odd.png", picture(0))
    with pytest.raises(DataError, match=r"odd .*SCENE-FRAME"):
        listing(tmp_path)


def test_gopro_mixed_layouts_are_described(gopro):
    assert listing(gopro).layout == "native GoPro (train, test)"
    for half in ("input", "target"):
        save(gopro / "val" / half / "GOPR05-1.png", picture(0))
    found = listing(gopro)
    assert found.layout == "native GoPro (train, test); input/target GoPro (val)"
    assert "--gamma" in found.notes[0]


@pytest.mark.parametrize("name", ["valid", "Validation"])
def test_gopro_folder_of_validation_has_several_names(gopro, name):
    for half in ("blur", "sharp"):
        save(gopro / name / half / "GOPR05-1.png", picture(0))
    found = listing(gopro)
    assert {item.scene for item in found.splits["val"]} == {"GOPR05"} and not found.notes


def test_gopro_below_the_folder_of_a_split_is_listed(tmp_path):
    for split, scene in (("train", "GOPR01"), ("test", "GOPR02")):
        for half in ("input", "target"):
            save(tmp_path / split / "GoPro" / half / f"{scene}-1.png", picture(0))
            save(tmp_path / split / "HIDE" / half / "1fromGOPR1.png", picture(0))
    found = listing(tmp_path, val_share=0.0)
    assert [items[0].key for items in found.splits.values()] == ["GOPR01/1", "GOPR02/1"]
    assert found.notes[0] == "Folders that were not read: test/HIDE, train/HIDE."


def test_gopro_flattened_without_selected_blur_raises(tmp_path):
    for half in ("blur", "sharp"):
        save(tmp_path / "train" / half / "A-1.png", picture(0))
    with pytest.raises(DataError, match=r"blur_gamma; .*train contains blur, sharp"):
        listing(tmp_path, gamma="gamma")


def test_gopro_other_folders_are_noted(gopro):
    for half in ("blur", "sharp"):
        save(gopro / "valid" / half / "GOPR07-1.png", picture(0))
        save(gopro / "val" / half / "GOPR05-1.png", picture(0))
    save(gopro / "val" / "extra" / "GOPR05-1.png", picture(0))
    found = listing(gopro)
    assert found.notes == ("Folders that were not read: val/extra, valid.",)
    assert {item.scene for item in found.splits["val"]} == {"GOPR05"}


def test_gopro_test_list_overrides_folders(gopro, tmp_path):
    (tmp_path / "test.txt").write_text("train/GOPR01/blur/000001.png train/GOPR01/sharp/000001.png")
    found = listing(gopro, test_list=str(tmp_path / "test.txt"), val_share=0.0)
    assert [item.key for item in found.splits["test"]] == ["GOPR01/000001"]
    assert "GOPR09" in {item.scene for item in found.splits["train"]}
