"""Pairs from two folders, or from one with name patterns."""

import numpy as np
import pytest

from data_prep import build as command
from data_prep.faults import Fault
from data_prep.sources import pairs
from tests.helpers.raw_data import picture, save
from tfdeblur.data.schema import Manifest
from tfdeblur.errors import ConfigError, DataError


def listing(**options):
    return pairs.build(pairs.Options(**{"test_share": 0.0, "val_share": 0.0, **options})).listing()


def keys(found):
    return {name: [item.key for item in items] for name, items in found.splits.items()}


@pytest.fixture
def two_folders(tmp_path):
    """Folders b and s with three scenes of two pairs, with different extensions."""
    seed = 0
    for scene in ("day", "dusk", "night"):
        for frame in ("1", "2"):
            for half, ending in (("b", ".jpg"), ("s", ".png")):
                seed += 1
                save(tmp_path / half / scene / f"{frame}{ending}", picture(seed))
    return {"blurred": str(tmp_path / "b"), "sharp": str(tmp_path / "s")}


def test_pairs_two_folders_match_by_path(two_folders):
    found = listing(**two_folders)
    assert keys(found) == {"train": ["day/1", "day/2", "dusk/1", "dusk/2", "night/1", "night/2"]}
    assert found.layout == "6 pairs in 3 scenes; halves of the same path; scenes by folder"
    item = found.splits["train"][0]
    assert (item.width, item.height) == (40, 30)
    blurred, sharp = pairs.build(pairs.Options(**two_folders)).load(item)
    np.testing.assert_array_equal(sharp, picture(2))
    assert (blurred != sharp).any()


def test_pairs_splits_by_scene_and_by_share(two_folders):
    assert keys(listing(**two_folders, test_scenes=("dusk",)))["test"] == ["dusk/1", "dusk/2"]
    shares = pairs.build(pairs.Options(**two_folders, val_share=0.3)).listing()
    assert {name: len(items) for name, items in shares.splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }


def test_pairs_without_folder_are_own_scenes(tmp_path):
    for half in ("b", "s"):
        save(tmp_path / half / "x.png", picture(1))
        save(tmp_path / half / "y.png", picture(2))
    found = listing(blurred=str(tmp_path / "b"), sharp=str(tmp_path / "s"))
    assert keys(found) == {"train": ["x/x", "y/y"]}


@pytest.mark.parametrize(
    ("names", "patterns", "expected"),
    [
        (
            ["a_blur.png", "a_sharp.png", "sub/b_blur.png", "sub/b_sharp.jpg", "readme.txt"],
            ("{name}_blur.*", "{name}_sharp.*"),
            ["a/a", "sub/b"],
        ),
        (
            ["s1/blur/7.png", "s1/gt/7.png", "s2/blur/7.png", "s2/gt/7.png"],
            ("{scene}/blur/{name}.png", "{scene}/gt/{name}.png"),
            ["s1/7", "s2/7"],
        ),
        (
            ["park-blur-3.png", "park-3.png", "pier-blur-3.png", "pier-3.png"],
            ("{scene}-blur-{name}.png", "{scene}-{name}.png"),
            ["park/3", "pier/3"],
        ),
        (["a.png", "a_blur.png"], ("{name}_blur.*", "{name}.*"), ["a/a"]),
        (["blur_4.png", "gt_4.png"], ("blur_{name}.png", "gt_{name}.png"), ["4/4"]),
    ],
)
def test_pairs_one_folder_matches_by_patterns(tmp_path, names, patterns, expected):
    for name in names:
        save(tmp_path / name, picture(0)) if not name.endswith("txt") else None
    found = listing(source=str(tmp_path), blurred_name=patterns[0], sharp_name=patterns[1])
    assert keys(found) == {"train": expected}
    item = found.splits["train"][0]
    assert "blur" in item.blurred and "blur" not in item.sharp.removeprefix(str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "scenes"),
    [(r"(clip\d+)_", ["clip1", "clip2"]), (r"clip\d", ["clip1", "clip2"]), (".+", None)],
)
def test_pairs_scene_pattern_names_scenes(tmp_path, pattern, scenes):
    names = ["clip1_a", "clip1_b", "clip2_a"]
    for name in names:
        for half in ("b", "s"):
            save(tmp_path / half / f"{name}.png", picture(0))
    folders = {"blurred": str(tmp_path / "b"), "sharp": str(tmp_path / "s")}
    items = listing(**folders, scene_pattern=pattern).splits["train"]
    assert sorted({item.scene for item in items}) == (scenes or names)
    assert [item.frame for item in items] == names


def test_pairs_invalid_scene_pattern_raises(two_folders):
    with pytest.raises(DataError, match=r"--scene-pattern clip .*day/1"):
        listing(**two_folders, scene_pattern="clip")
    with pytest.raises(ConfigError, match=r"--scene-pattern \("):
        listing(**two_folders, scene_pattern="(")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--blurred and --sharp, or --source"),
        ({"blurred": "b"}, "--blurred and --sharp"),
        ({"source": "b", "sharp": "s"}, "either --source"),
        ({"source": "b"}, "requires --blurred-name"),
        ({"blurred": "b", "sharp": "s", "halves": "blurred-sharp"}, "requires --source"),
        ({"source": "b", "halves": "sharp-blurred", "sharp_name": "{name}"}, "With --halves"),
        ({"source": ".", "blurred_name": "{name}b", "sharp_name": "{name}{copy}"}, "{copy}"),
        (
            {"source": ".", "blurred_name": "x", "sharp_name": "{name}"},
            "--blurred-name x",
        ),
        (
            {"source": ".", "blurred_name": "{name}", "sharp_name": "{nam}"},
            "--sharp-name {nam}",
        ),
        ({"source": ".", "blurred_name": "{name}", "sharp_name": "{name}"}, "same pattern"),
        (
            {"source": ".", "blurred_name": "{scene}b{name}", "sharp_name": "{name}"},
            "the same {fields}",
        ),
    ],
)
def test_pairs_contradictory_options_raise(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        listing(**options)
    assert message in str(caught.value)


def test_pairs_missing_folder_raises(two_folders, tmp_path):
    with pytest.raises(DataError, match=r"--sharp .*nowhere"):
        listing(blurred=two_folders["blurred"], sharp=str(tmp_path / "nowhere"))


def test_pairs_missing_half_raises_or_is_skipped(two_folders, tmp_path):
    (tmp_path / "s" / "night" / "2.png").unlink()
    with pytest.raises(DataError, match=r"s/night/2\.\*"):
        listing(**two_folders)
    found = listing(**two_folders, unpaired="skip")
    assert len(found.splits["train"]) == 5 and found.notes[0].endswith("missing: 1.")


def test_pairs_without_matches_raises(tmp_path):
    save(tmp_path / "b" / "7_blur.png", picture(0))
    save(tmp_path / "s" / "7_sharp.png", picture(0))
    with pytest.raises(DataError, match=r"7_blur\.png.*7_sharp\.png") as why:
        listing(blurred=str(tmp_path / "b"), sharp=str(tmp_path / "s"))
    assert "--blurred-name and --sharp-name" in str(why.value)


def test_pairs_two_images_for_one_half_raises(two_folders, tmp_path):
    save(tmp_path / "s" / "day" / "1.jpg", picture(0))
    with pytest.raises(DataError, match=r"1\.jpg and .*1\.png"):
        listing(**two_folders)


def test_pairs_folder_without_matching_images_is_noted(tmp_path):
    for scene in ("s1", "s2"):
        for half in ("blur", "gt"):
            save(tmp_path / scene / half / "7.png", picture(0))
    save(tmp_path / "valid" / "input" / "7.png", picture(0))
    found = listing(
        source=str(tmp_path),
        blurred_name="{scene}/blur/{name}.png",
        sharp_name="{scene}/gt/{name}.png",
    )
    assert found.notes == (f"Folders that were not read: {tmp_path}/valid/input.",)


@pytest.mark.parametrize("spare", ["refuse", "skip"])
def test_pairs_copies_of_one_sharp_image_share_its_scene(tmp_path, spare):
    for image in "12":
        save(tmp_path / "gt" / f"im{image}.png", picture(int(image)))
        for kernel in "345":
            path = tmp_path / "blur" / f"im{image}_kernel{kernel}_img.png"
            save(path, picture(int(image + kernel)))
    if spare == "skip":
        save(tmp_path / "gt" / "kernel3.png", picture(0))
    source = pairs.build(
        pairs.Options(
            blurred=str(tmp_path / "blur"),
            sharp=str(tmp_path / "gt"),
            blurred_name="{name}_kernel{copy}_img.png",
            sharp_name="{name}.png",
            unpaired=spare,
            test_share=0.5,
            val_share=0,
        )
    )
    found = source.listing()
    items = [item for part in found.splits.values() for item in part]
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 3, "test": 3}
    assert sorted(item.key for item in items) == [f"im{i}/im{i}-{k}" for i in "12" for k in "345"]
    for item in items:
        blurred, sharp = source.load(item)
        image, kernel = item.frame[2], item.frame[-1]
        np.testing.assert_array_equal(blurred, picture(int(image + kernel)))
        np.testing.assert_array_equal(sharp, picture(int(image)))
    (tmp_path / "gt" / "im2.png").unlink()
    if spare == "refuse":
        with pytest.raises(DataError, match=r"gt/im2\.png"):
            source.listing()
    else:
        assert {item.scene for item in source.listing().splits["train"]} == {"im1"}


def test_pairs_missing_copies_raise(tmp_path):
    for image in "12":
        save(tmp_path / "gt" / f"im{image}.png", picture(0))
    save(tmp_path / "blur" / "im1_kernel1.png", picture(0))
    with pytest.raises(DataError, match=r"blur/im2_kernel\*\.png"):
        listing(
            blurred=str(tmp_path / "blur"),
            sharp=str(tmp_path / "gt"),
            blurred_name="{name}_kernel{copy}.png",
            sharp_name="{name}.png",
        )


def test_pairs_patterns_without_suffix_raise_with_the_pattern_to_use(tmp_path):
    for image in "12":
        save(tmp_path / f"GroundTruth{image}.png", picture(0))
        save(tmp_path / f"Blurry{image}_1.png", picture(0))
    patterns = {"blurred_name": "Blurry{name}_{copy}", "sharp_name": "GroundTruth{name}"}
    with pytest.raises(DataError, match=r"GroundTruth\{name\}\.\*"):
        listing(source=str(tmp_path), **patterns)
    named = {flag: f"{pattern}.*" for flag, pattern in patterns.items()}
    assert keys(listing(source=str(tmp_path), **named)) == {"train": ["1/1-1", "2/2-1"]}


@pytest.mark.parametrize("halves", ["blurred-sharp", "sharp-blurred"])
@pytest.mark.parametrize(
    ("folders", "pattern", "expected"),
    [
        (("train", "val", "test"), None, {"train": 2, "val": 2, "test": 2}),
        (("Training", "Valid", "Testing"), None, {"train": 2, "val": 2, "test": 2}),
        (("", "day"), None, {"train": 4}),
        (("train", "test"), "{scene}/{name}.*", {"train": 4}),
    ],
)
def test_pairs_halves_in_one_picture_are_cut(tmp_path, halves, folders, pattern, expected):
    for number, folder in enumerate(folders):
        for frame in range(2):
            whole = np.concatenate([picture(10 * number + frame), picture(5)], 1)
            save(tmp_path / folder / f"{frame}.png", whole)
    source = pairs.build(
        pairs.Options(
            source=str(tmp_path),
            halves=halves,
            blurred_name=pattern,
            val_share=0,
            test_share=0,
        )
    )
    found = source.listing()
    assert {split: len(items) for split, items in found.splits.items()} == expected
    for item in found.splits["train"]:
        assert (item.width, item.height) == (40, 30)
        both = source.load(item)
        blurred, sharp = both if halves == "blurred-sharp" else both[::-1]
        np.testing.assert_array_equal(sharp, picture(5))
        number = folders.index(item.sharp.removeprefix(f"{tmp_path}/").rpartition("/")[0])
        np.testing.assert_array_equal(blurred, picture(10 * number + int(item.frame)))


def test_pairs_halves_of_odd_width_raise(tmp_path):
    save(tmp_path / "a.png", picture(0, 40, 30))
    path = save(tmp_path / "b.png", picture(0, 41, 30))
    with pytest.raises(Fault) as caught:
        listing(source=str(tmp_path), halves="blurred-sharp")
    assert (caught.value.code, caught.value.file) == ("size-differs", str(path))


def test_pairs_halves_in_one_picture_build(tmp_path, capsys):
    for split in ("train", "test"):
        whole = np.concatenate([picture(1), picture(len(split))], 1)
        save(tmp_path / "ab" / split / f"{split}.png", whole)
    out = str(tmp_path / "out")
    words = ["pairs", "--source", str(tmp_path / "ab"), "--halves", "blurred-sharp"]
    assert command.main([*words, "--out", out, "--workers", "1", "--val-share", "0"]) == 0
    manifest = Manifest.load(out)
    assert manifest.split("test").scenes == ("test/test",)
    split = manifest.split("train")
    assert (split.records, split.width, split.height) == (1, 40, 30)


def test_pairs_build_records_layout_and_lists(two_folders, tmp_path, capsys):
    (tmp_path / "test.txt").write_text("# a list\nnight\n")
    out = str(tmp_path / "out")
    words = ["pairs", "--out", out, "--workers", "1", "--val-share", "0"]
    words += ["--test-list", str(tmp_path / "test.txt")]
    words += [word for k, v in two_folders.items() for word in (f"--{k}", v)]
    assert command.main(words) == 0
    manifest = Manifest.load(out)
    assert manifest.split("test").scenes == ("night",)
    assert manifest.split("train").scenes == ("day", "dusk")
    assert manifest.notes[0].startswith("Layout: 6 pairs in 3 scenes")
    assert "Split test: 2 pairs" in manifest.notes[1]
    printed = capsys.readouterr().out
    assert all(note in printed for note in manifest.notes)


def test_pairs_real_reds_is_listed(real_data):
    root = real_data / "reds"
    halves = {half: str(root / f"train_{half}_bicubic" / "X4") for half in ("blur", "sharp")}
    found = listing(blurred=halves["blur"], sharp=halves["sharp"])
    assert len(found.splits["train"]) == 40
    assert {item.scene for item in found.splits["train"]} == {"027"}


def test_pairs_real_levin_has_eight_copies_of_each_image(real_data):
    root = real_data / "real_blur" / "levin"
    found = listing(
        blurred=str(root / "blur"),
        sharp=str(root / "gt"),
        blurred_name="im{name}_kernel{copy}_img.png",
        sharp_name="im{name}.png",
        test_share=0.5,
    )
    assert {split: len(items) for split, items in found.splits.items()} == {"train": 16, "test": 16}
    assert len({item.scene for items in found.splits.values() for item in items}) == 4
