"""Layouts are recognized, and all their faults are reported at once."""

import dataclasses
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from data_prep import faults
from data_prep.checks import raw
from data_prep.sources import REGISTRY, gopro
from tests.helpers import faulty_data as faulty
from tfdeblur.errors import ConfigError, DataError


def reds(root, half=("blur", "sharp")):
    for part in ("train", "val"):
        for frame in range(2):
            for folder, image in zip(half, faulty.pair(frame + 7 * len(part)), strict=True):
                faulty.write(f"{root}/{part}_{folder}/000/{frame:08d}.png", image)
    return str(root)


def flat(root, halves, names):
    for split in ("train", "test"):
        for number, name in enumerate(names):
            for folder, image in zip(halves, faulty.pair(number + 9 * len(split)), strict=True):
                faulty.write(f"{root}/{split}/{folder}/{split}{name}.png", image)
    return str(root)


def realblur(root):
    folder = f"{root}/RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
    for number in range(3):
        for half, image in zip(("blur", "gt"), faulty.pair(number), strict=True):
            faulty.write(f"{folder}/scene{number:03d}/{half}/{half}_1.png", image)
    for split, numbers in (("train", (0, 1)), ("test", (2,))):
        with open(f"{root}/RealBlur_J_{split}_list.txt", "w") as file:
            file.writelines(
                f"scene{n:03d}/gt/gt_1.png scene{n:03d}/blur/blur_1.png\n" for n in numbers
            )
    return str(root)


def hide(root):
    for number, place in enumerate(("train", "test/test-close-ups")):
        for frame in range(2):
            name = f"{frame}fromGOPR{number}.png"
            for folder, image in zip((place, "GT"), faulty.pair(frame + 5 * number), strict=True):
                faulty.write(f"{root}/{folder}/{name}", image)
    return str(root)


def one_folder(root):
    for number in range(4):
        for mark, image in zip(("blur", "sharp"), faulty.pair(number), strict=True):
            faulty.write(f"{root}/{number}_{mark}.png", image)
    return str(root)


def scene_folders(root):
    for number in range(3):
        for half, image in zip(("input", "gt"), faulty.pair(number), strict=True):
            faulty.write(f"{root}/place{number}/{half}/1.png", image)
    return str(root)


def halved(blurred, sharp, splits=("train", "test"), scenes=("",)):
    """Returns a function that writes pairs of frames in folders of halves below each scene."""

    def write(root):
        seed = 0
        for split in splits:
            for scene in scenes:
                for frame in range(2):
                    seed += 1
                    for half, image in zip((blurred, sharp), faulty.pair(seed), strict=True):
                        folder = os.path.join(root, split, scene and split[:2] + scene, half)
                        faulty.write(f"{folder}/{split[:2]}{scene}-{frame}.png", image)
        return str(root)

    return write


def photos(root):
    for number in range(5):
        faulty.write(f"{root}/{number}.png", faulty.pair(number)[1])
    return str(root)


LAYOUTS = {
    "gopro": (faulty.make_gopro, "native GoPro (train, test)", 8),
    "gopro-flat": (
        lambda root: flat(root, ("blur", "sharp"), ("-000001", "-000002")),
        "flattened GoPro (train, test)",
        4,
    ),
    "gopro-input": (
        lambda root: flat(root, ("input", "target"), ("-000001", "-000002")),
        "input/target GoPro (train, test)",
        4,
    ),
    "reds": (reds, "native REDS, track blur (train_blur and val_blur)", 4),
    "reds-x4": (
        lambda root: reds(root, ("blur_bicubic/X4", "sharp_bicubic/X4")),
        "native REDS, track blur_bicubic (train_blur_bicubic/X4 and val_blur_bicubic/X4)",
        4,
    ),
    "realblur": (realblur, "published RealBlur-J", 3),
    "hide": (hide, "published HIDE (train, test-close-ups)", 4),
    "hide-input": (
        lambda root: flat(root, ("input", "target"), ("1fromGOPR1", "2fromGOPR2")),
        "input/target HIDE (train, test)",
        4,
    ),
    "pairs": (faulty.make_pairs, "6 pairs in 3 scenes; halves of the same path", 6),
    "pairs-one-folder": (one_folder, "4 pairs in 4 scenes; {name}_blur.* with", 4),
    "pairs-scenes": (scene_folders, "3 pairs in 3 scenes; {scene}/input/{name}.* with", 3),
    "pairs-scenes-GT": (
        halved("input", "GT", ("",), ("day", "dusk")),
        "4 pairs in 2 scenes; {scene}/input/{name}.* with {scene}/GT/{name}.*",
        4,
    ),
    "pairs-dvd": (
        halved("input", "GT", scenes=("1", "2")),
        "8 pairs in 4 scenes; {split}/{scene}/input/{name}.* with {split}/{scene}/GT/{name}.*",
        8,
    ),
    "pairs-bsd": (
        halved("Blur/RGB", "Sharp/RGB", ("train", "valid", "test"), ("1", "2")),
        "12 pairs in 6 scenes; {split}/{scene}/Blur/RGB/{name}.* with",
        12,
    ),
    "pairs-rgb": (
        halved("Blur/RGB", "Sharp/RGB", ("",)),
        "2 pairs in 2 scenes; halves of the same path",
        2,
    ),
    "pairs-lq": (halved("LQ", "HQ", ("",)), "2 pairs in 2 scenes; halves of the same path", 2),
    "pairs-splits": (
        halved("blurry", "gt", ("Train", "Validation", "Test")),
        "6 pairs in 6 scenes; {split}/blurry/{name}.* with {split}/gt/{name}.*",
        6,
    ),
    "gopro-valid": (
        halved("blur", "sharp", ("train", "valid", "test")),
        "flattened GoPro (train, val, test)",
        6,
    ),
    "gopro-mprnet": (
        halved("GoPro/input", "GoPro/target"),
        "input/target GoPro (train, test)",
        4,
    ),
    "sharp": (photos, "source sharp", 5),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_examine_clean_layout_is_recognized(tmp_path, examine, name):
    make, words, pairs = LAYOUTS[name]
    report = examine(make(tmp_path / "set"))
    found = report
    assert found.source == name.split("-")[0] and found.layout.startswith(words)
    assert (found.pairs, found.examined) == (pairs, pairs)
    assert sum(sum(scenes.values()) for scenes in found.splits.values()) == pairs
    assert report.findings == [], report.to_text()


@pytest.mark.parametrize("name", ["pairs-bsd", "pairs-splits", "gopro-valid"])
def test_examine_folders_of_splits_keep_their_images(tmp_path, examine, name):
    splits = examine(LAYOUTS[name][0](tmp_path / "set")).splits
    marks = {
        split: {scene.split("/")[-1][:2].lower() for scene in scenes}
        for split, scenes in splits.items()
    }
    assert marks == {"train": {"tr"}, "val": {"va"}, "test": {"te"}}


def side_by_side(root, swapped=False):
    for split in ("train", "test"):
        for number in range(3):
            halves = faulty.pair(number + 3 * len(split))
            whole = np.concatenate(halves[::-1] if swapped else halves, 1)
            faulty.write(f"{root}/{split}/{split}{number}.png", whole)
    return str(root)


def test_examine_halves_in_one_picture_warns(tmp_path, examine):
    root = side_by_side(tmp_path / "set")
    report = examine(root)
    assert report.source == "sharp"
    assert [(f.code, f.file) for f in report.findings] == [("halves-in-one-picture", ".")]
    # A single image with other content is enough to rule it out.
    unlike = np.concatenate([faulty.pair(seed)[1] for seed in (98, 99)], 1)
    faulty.write(f"{root}/train/other.png", unlike)
    assert examine(root).findings == []


def test_examine_named_order_of_halves_checks_pairs(tmp_path, examine):
    root = side_by_side(tmp_path / "set")
    report = examine(root, "pairs", halves="blurred-sharp", val_share=0)
    assert report.findings == [] and report.examined == 6
    assert {split: len(scenes) for split, scenes in report.splits.items()} == {
        "train": 3,
        "test": 3,
    }
    assert report.load("test/test0/test0")[0].shape == (faulty.HEIGHT, faulty.WIDTH, 3)
    swapped = examine(root, "pairs", halves="sharp-blurred")
    assert {f.code for f in swapped.findings} == {"swapped-halves"}
    with open(f"{root}/test/test1.png", "r+b") as file:
        file.truncate(os.path.getsize(file.name) // 2)
    damaged = examine(root, "pairs", halves="blurred-sharp")
    assert {(f.code, f.file) for f in damaged.findings} == {("unreadable", "test/test1.png")}


@pytest.mark.parametrize("source", ["pairs", "sharp"])
def test_examine_copies_of_one_sharp_file_are_no_duplicates(tmp_path, examine, source):
    root = tmp_path / "set"
    for number in range(2):
        for copy in range(3):
            blurred, sharp = faulty.pair(number, shift=copy % 2)
            faulty.write(f"{root}/gt/{number}.png", sharp)
            if source == "pairs":
                faulty.write(f"{root}/blur/{number}_k{copy}.png", blurred)
    options = {"blurred": "blur", "sharp": "gt", "blurred_name": "{name}_k{copy}.*"}
    report = examine(root, source, **(options if source == "pairs" else {"copies": 3}))
    assert report.pairs == 6 and report.findings == []


def test_recognize_exists_for_every_source_with_files():
    for name in REGISTRY.names():
        takes = hasattr(REGISTRY.load(name), "recognize")
        assert takes == ("source" in {f.name for f in dataclasses.fields(REGISTRY.options(name))})


def test_examine_unknown_layout_lists_contents(tmp_path, examine):
    (tmp_path / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("nothing here")
    report = examine(tmp_path)
    (finding,) = report.findings
    assert finding.code == "layout-unknown" and report.exit_code == 4
    assert "notes, readme.txt" in finding.detail and "gopro" in finding.detail


def test_examine_named_source_uses_its_options(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set")
    os.rename(f"{root}/blur", f"{root}/soft")
    report = examine(root, "pairs", blurred="soft", sharp="sharp", test_scenes=("dusk",))
    assert report.splits["test"] == {"dusk": 2}
    assert report.findings == [], report.to_text()
    report = examine(root, "reds")
    (finding,) = report.findings
    assert finding.code == "layout-faulty" and "train_blur/SCENE" in finding.detail
    with pytest.raises(ConfigError, match="--source scenes"):
        examine(root, "scenes")
    with pytest.raises(ConfigError, match="--scenes dawn"):
        examine(root, "pairs", blurred="soft", sharp="sharp", scenes=("dawn",))


def test_examine_pairs_accepts_absolute_and_relative_halves(tmp_path, monkeypatch, examine):
    root = faulty.make_pairs(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    for blurred in ("set/blur", "blur", str(tmp_path / "set" / "blur")):
        report = examine(root, "pairs", blurred=blurred, sharp="set/sharp", test_share=0)
        assert report.pairs == 6
    with pytest.raises(ConfigError, match=r"--blurred blurr: .*set/blurr"):
        examine(root, "pairs", blurred="blurr", sharp="sharp")


def test_examine_several_tracks_adds_note(tmp_path, examine):
    root = reds(tmp_path / "set")
    shutil.copytree(f"{root}/train_blur", f"{root}/train_blur_comp")
    notes = examine(root).notes
    assert any("--source reds --track blur_comp" in note for note in notes)


def unlink(*names):
    return lambda root: [os.remove(f"{root}/{name}") for name in names]


def move(source, target):
    def run(root):
        os.makedirs(os.path.dirname(f"{root}/{target}"), exist_ok=True)
        os.rename(f"{root}/{source}", f"{root}/{target}")

    return run


def copy(source, target):
    def run(root):
        os.makedirs(os.path.dirname(f"{root}/{target}"), exist_ok=True)
        place = f"{root}/{source}"
        (shutil.copytree if os.path.isdir(place) else shutil.copy)(place, f"{root}/{target}")

    return run


def cropped(*names):
    def run(root):
        for name in names:
            with Image.open(f"{root}/{name}") as image:
                smaller = image.crop((0, 0, faulty.WIDTH - 8, faulty.HEIGHT))
            smaller.save(f"{root}/{name}")

    return run


def remove(*folders):
    return lambda root: [shutil.rmtree(f"{root}/{folder}") for folder in folders]


def all_of(*steps):
    return lambda root: [step(root) for step in steps]


def emptied(*folders):
    return all_of(remove(*folders), lambda root: [os.makedirs(f"{root}/{f}") for f in folders])


# Layout, fault, code and file of the finding.
FAULTS = [
    (
        "gopro",
        unlink("train/GOPR0A/blur/000001.png"),
        "missing-half",
        "train/GOPR0A/sharp/000001.png",
    ),
    (
        "gopro",
        unlink("test/GOPR0D/sharp/000000.png"),
        "missing-half",
        "test/GOPR0D/blur/000000.png",
    ),
    (
        "gopro-flat",
        unlink("train/sharp/train-000002.png"),
        "missing-half",
        "train/blur/train-000002.png",
    ),
    ("reds", unlink("val_blur/000/00000001.png"), "missing-half", "val_sharp/000/00000001.png"),
    ("pairs", unlink("sharp/night/1.png"), "missing-half", "blur/night/1.png"),
    ("pairs-one-folder", unlink("3_blur.png"), "missing-half", "3_sharp.png"),
    ("hide", unlink("GT/0fromGOPR0.png"), "missing-half", "train/0fromGOPR0.png"),
    ("gopro", remove("train/GOPR0B/blur"), "missing-half", "train/GOPR0B/blur"),
    ("reds", remove("train_sharp/000"), "missing-half", "train_sharp/000"),
    ("reds", emptied("train_blur/000", "train_sharp/000"), "missing-half", "train_blur/000"),
    (
        "gopro",
        copy("train/GOPR0A/blur/000001.png", "train/GOPR0A/blur/000001.jpg"),
        "bad-name",
        "train/GOPR0A/blur/000001.png",
    ),
    ("pairs", copy("sharp/day/0.png", "sharp/day/0.bmp"), "bad-name", "sharp/day/0.png"),
    (
        "gopro-flat",
        all_of(
            move("test/blur/test-000001.png", "test/blur/one.png"),
            move("test/sharp/test-000001.png", "test/sharp/one.png"),
        ),
        "bad-name",
        "test/blur/one.png",
    ),
    ("gopro", copy("train/GOPR0A", "test/GOPR0A"), "scene-in-two-splits", "GOPR0A"),
    (
        "gopro",
        cropped("train/GOPR0A/blur/000001.png"),
        "size-differs",
        "train/GOPR0A/blur/000001.png",
    ),
    ("pairs", cropped("sharp/night/1.png"), "size-differs", "blur/night/1.png"),
]


@pytest.mark.parametrize(
    ("name", "plant", "code", "file"),
    FAULTS,
    ids=[f"{n}-{fault[2]}-{fault[0]}" for n, fault in enumerate(FAULTS)],
)
def test_examine_faulty_layout_is_found_and_ends_build(tmp_path, examine, name, plant, code, file):
    root = LAYOUTS[name][0](tmp_path / "set")
    source, options = raw.recognize(root)[0]
    plant(root)
    if name == "gopro-flat" and code == "bad-name":
        report = examine(root, "gopro")
    else:
        report = examine(root)
    named = [finding.file for finding in report.findings if finding.code == code]
    assert named == [file], report.to_text()
    assert report.exit_code == 4
    # Intact pairs are examined all the same.
    assert report.examined >= 2
    # A build of the same folder raises a single error.
    built = REGISTRY.load(source).build(REGISTRY.options(source)(**options))
    with pytest.raises(DataError) as caught:
        built.listing()
    assert "\n" not in str(caught.value)


def test_examine_several_faults_reports_all(tmp_path, examine):
    root = faulty.make_gopro(tmp_path / "set")
    for name in ("train/GOPR0A/blur/000001.png", "train/GOPR0C/sharp/000000.png"):
        os.remove(f"{root}/{name}")
    shutil.rmtree(f"{root}/train/GOPR0B/sharp")
    report = examine(root)
    codes = sorted(finding.code for finding in report.findings)
    assert codes == ["missing-half"] * 3
    # Faults are no longer collected, so a listing raises again.
    assert not faults.is_collecting()
    with pytest.raises(DataError, match="is missing"):
        gopro.build(gopro.Options(source=root)).listing()


def test_examine_odd_size_warns_and_many_sizes_inform(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set", scenes=tuple("abcdef"))
    cropped("blur/c/1.png", "sharp/c/1.png")(root)
    report = examine(root, "pairs", val_share=0, test_share=0)
    assert [(f.code, f.file) for f in report.findings] == [("odd-size", "sharp/c/1.png")]
    assert report.exit_code == 3
    assert all(size in report.findings[0].detail for size in ("56x48", "64x48"))
    cropped("blur/d/1.png", "sharp/d/1.png")(root)
    report = examine(root, "pairs", val_share=0, test_share=0)
    assert [(f.code, f.file) for f in report.findings] == [("sizes-vary", "train")]
    assert report.exit_code == 0


def linked(target, name):
    return lambda root: os.symlink(target, f"{root}/{name}")


# Fault, code and file of the finding, exit code of a build.
NAMES = [
    (
        all_of(move("blur/day", "blur/d\u00e9j\u00e0"), move("sharp/day", "sharp/d\u00e9j\u00e0")),
        "name-not-ascii",
        "blur/d\u00e9j\u00e0",
        0,
    ),
    (
        all_of(
            copy("blur/day/0.png", "blur/day/A.png"),
            copy("sharp/day/0.png", "sharp/day/A.png"),
            copy("blur/day/1.png", "blur/day/a.png"),
            copy("sharp/day/1.png", "sharp/day/a.png"),
        ),
        "case-clash",
        "blur/day/a.png",
        0,
    ),
    (linked("..", "blur/day/loop"), "link-loop", "blur/day/loop", 0),
    (linked("../../..", "sharp/night/up"), "link-loop", "sharp/night/up/set", 0),
    (linked("self.png", "blur/day/self.png"), "not-a-file", "blur/day/self.png", 2),
    (linked("gone.png", "blur/day/new.png"), "not-a-file", "blur/day/new.png", 2),
    (
        all_of(
            lambda root: os.mkfifo(f"{root}/blur/day/pipe.png"),
            copy("sharp/day/0.png", "sharp/day/pipe.png"),
        ),
        "not-a-file",
        "blur/day/pipe.png",
        2,
    ),
    (copy("blur/day/0.png", "blur/day/\udcff.png"), "bad-name", "blur/day/\\udcff.png", 2),
]


@pytest.mark.parametrize(("plant", "code", "file", "built"), NAMES)
def test_examine_names_and_links_are_found(
    tmp_path, examine, try_to_build, plant, code, file, built
):
    root = faulty.make_pairs(tmp_path / "set")
    plant(root)
    report = examine(root)
    assert file in [finding.file for finding in report.findings if finding.code == code]
    exit_code, error = try_to_build(root)
    assert exit_code == built, error
    assert "Traceback" not in error
    if built:
        lines = error.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]


def test_examine_names_equal_after_normalization_clash(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set")
    composed, parted = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    for half in ("blur", "sharp"):
        move(f"{half}/day", f"{half}/{composed}")(root)
        move(f"{half}/dusk", f"{half}/{parted}")(root)
    codes = {finding.code for finding in examine(root).findings}
    assert codes == {"case-clash", "name-not-ascii"}


def test_examine_with_sample_decodes_some_and_adds_note(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set", scenes=tuple("abcdef"))
    with open(f"{root}/blur/b/0.png", "r+b") as file:
        file.truncate(os.path.getsize(file.name) // 2)
    report = examine(root, sample=3)
    assert report.examined == 3 and len(report.measures) <= 3
    assert any("3 of 12 pairs" in note and "--sample" in note for note in report.notes)
    assert examine(root).exit_code == 4


def test_examine_memory_file_system_reports_the_same(tmp_path, examine):
    import tensorflow as tf

    local = faulty.make_pairs(tmp_path / "set")
    remote = "ram://doctor/set"
    for folder, _, names in os.walk(local):
        for name in names:
            path = f"{folder}/{name}"
            target = f"{remote}/{path[len(local) + 1 :]}"
            tf.io.gfile.makedirs(os.path.dirname(target))
            with open(path, "rb") as file, tf.io.gfile.GFile(target, "wb") as out:
                out.write(file.read())
    report = examine(remote)
    assert report.findings == [] and report.examined == 6
    np.testing.assert_equal(report.psnr, examine(local).psnr)
