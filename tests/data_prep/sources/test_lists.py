"""List files assign scenes to splits."""

import pytest

from data_prep.layouts.lists import apply_lists
from data_prep.layouts.matching import Scene, group
from tfdeblur.errors import DataError


def make_scenes(*names, frames=2):
    pairs = {
        f"{name}/{frame}": (f"/d/set/{name}/blur/b_{frame}.png", f"/d/set/{name}/gt/g_{frame}.png")
        for name in names
        for frame in range(frames)
    }
    return group("train", pairs, lambda name: tuple(name.split("/")))


def apply(tmp_path, scenes, **texts):
    paths = {}
    for split, text in texts.items():
        (tmp_path / f"{split}.txt").write_text(text)
        paths[split] = str(tmp_path / f"{split}.txt")
    kept, notes = apply_lists(scenes, paths)
    return {s.name: (s.split, [item.frame for item in s.items]) for s in kept}, notes


@pytest.mark.parametrize(
    "line",
    [
        "c",
        "c/0\nc/1",
        "c/blur/b_0.png\nc/blur/b_1.png",
        "./c/gt/g_0\n./c/gt/g_1",
        "\ufeffc/0\nc/1",
        "elsewhere/set/c/gt/g_0.png elsewhere/set/c/blur/b_0.png\nset/c/gt/g_1.png",
        "set\\c\\gt\\g_0.png\r\nset\\c\\gt\\g_1.png\r\n\r\n# end",
        "set/c/gt/g_0.png,set/c/blur/b_0.png\nset/c/gt/g_1.png;\tset/c/blur/b_1.png",
    ],
)
def test_apply_lists_accepts_several_forms_of_names(tmp_path, line):
    kept, notes = apply(tmp_path, make_scenes("a", "b", "c"), test=line)
    both = ["0", "1"]
    assert kept == {"a": ("train", both), "b": ("train", both), "c": ("test", both)}
    (note,) = notes
    assert note.startswith("Split test: 2 pairs") and f"{tmp_path}/test.txt" in note


def test_apply_lists_name_with_space(tmp_path):
    kept, _ = apply(tmp_path, make_scenes("a b", "a"), val="a b\n")
    assert kept["a b"][0] == "val" and kept["a"][0] == "train"


def test_apply_lists_train_list_drops_other_scenes(tmp_path):
    kept, notes = apply(tmp_path, make_scenes("a", "b", "c"), train="a", test="b")
    assert {name: split for name, (split, _) in kept.items()} == {"a": "train", "b": "test"}
    assert notes[-1].endswith(": 2.")


def test_apply_lists_keeps_splits_without_list(tmp_path):
    scenes = [*make_scenes("a", "b"), Scene("t", "test", items=make_scenes("t")[0].items)]
    for lists, expected in (
        ({"val": "b"}, {"a": "train", "b": "val", "t": "test"}),
        ({"train": "b"}, {"b": "train", "t": "test"}),
        ({"test": "b"}, {"a": "train", "b": "test", "t": "train"}),
    ):
        kept, _ = apply(tmp_path, scenes, **lists)
        assert {name: split for name, (split, _) in kept.items()} == expected


def test_apply_lists_drops_rest_of_listed_scene(tmp_path):
    kept, notes = apply(tmp_path, make_scenes("a", "b"), test="b/0")
    assert kept == {"a": ("train", ["0", "1"]), "b": ("test", ["0"])}
    assert notes[-1].endswith(": 1.")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"test": "a\n\nd"}, r"test\.txt, line 3: 'd'"),
        ({"test": "a/blur/b_7.png"}, r"test\.txt, line 1: .*no scene"),
        ({"test": "x/y/blur/b_0.png"}, r"test\.txt, line 1: .*no scene"),
        ({"test": "blur/b_0.png"}, "line 1: .*several scenes"),
        ({"test": "a/gt/g_0.png a/blur/b_1.png"}, "line 1: .*different pairs"),
        ({"train": "a/0", "test": "a/1"}, r"train\.txt puts scene 'a' in train, and .*'a/1' in"),
        ({"train": "a", "test": "a"}, "'a' in train, and"),
    ],
)
def test_apply_lists_unknown_or_ambiguous_line_raises(tmp_path, texts, message):
    with pytest.raises(DataError, match=message):
        apply(tmp_path, make_scenes("a", "b"), **texts)


def test_apply_lists_missing_file_raises(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.txt"):
        apply_lists(
            [Scene("a", "train", items=make_scenes("a")[0].items)],
            {"test": str(tmp_path / "nothing.txt")},
        )
