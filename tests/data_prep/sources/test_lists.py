"""List files put scenes into splits, whatever of a path they write."""

import pytest

from data_prep.layouts.halves import Scene, group
from data_prep.layouts.lists import apply_lists
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
        "elsewhere/set/c/gt/g_0.png elsewhere/set/c/blur/b_0.png\nset/c/gt/g_1.png",
        "set\\c\\gt\\g_0.png\r\nset\\c\\gt\\g_1.png\r\n\r\n# end",
        "set/c/gt/g_0.png,set/c/blur/b_0.png\nset/c/gt/g_1.png;\tset/c/blur/b_1.png",
    ],
)
def test_lines_name_scenes_or_pictures_in_many_ways(tmp_path, line):
    kept, notes = apply(tmp_path, make_scenes("a", "b", "c"), test=line)
    both = ["0", "1"]
    assert kept == {"a": ("train", both), "b": ("train", both), "c": ("test", both)}
    assert notes == [f"Split test: 2 pairs, by the list {tmp_path}/test.txt."]


def test_names_may_hold_spaces(tmp_path):
    kept, _ = apply(tmp_path, make_scenes("a b", "a"), val="a b\n")
    assert kept["a b"][0] == "val" and kept["a"][0] == "train"


def test_a_list_for_train_leaves_the_others_out(tmp_path):
    kept, notes = apply(tmp_path, make_scenes("a", "b", "c"), train="a", test="b")
    assert {name: split for name, (split, _) in kept.items()} == {"a": "train", "b": "test"}
    assert notes[-1] == "Pairs left out, for no list names them: 2."


def test_a_split_without_a_list_stays_as_it_is(tmp_path):
    scenes = [*make_scenes("a", "b"), Scene("t", "test", items=make_scenes("t")[0].items)]
    for lists, expected in (
        ({"val": "b"}, {"a": "train", "b": "val", "t": "test"}),
        ({"train": "b"}, {"b": "train", "t": "test"}),
        ({"test": "b"}, {"a": "train", "b": "test", "t": "train"}),
    ):
        kept, _ = apply(tmp_path, scenes, **lists)
        assert {name: split for name, (split, _) in kept.items()} == expected


def test_the_rest_of_a_listed_scene_is_never_trained_on(tmp_path):
    kept, notes = apply(tmp_path, make_scenes("a", "b"), test="b/0")
    assert kept == {"a": ("train", ["0", "1"]), "b": ("test", ["0"])}
    assert notes[-1].endswith("names them: 1.")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"test": "a\n\nd"}, r"test\.txt, line 3: 'd' names no scene and no picture"),
        ({"test": "a/blur/b_7.png"}, r"line 1: .*names no scene"),
        ({"test": "x/y/blur/b_0.png"}, r"line 1: .*names no scene"),
        ({"test": "blur/b_0.png"}, "means several scenes"),
        ({"test": "a/gt/g_0.png a/blur/b_1.png"}, "means halves of different pairs"),
        ({"train": "a/0", "test": "a/1"}, r"train\.txt puts scene 'a' in train, and .*'a/1' in"),
        ({"train": "a", "test": "a"}, "'a' in train, and"),
    ],
)
def test_lines_that_mean_nothing_or_too_much_are_named(tmp_path, texts, message):
    with pytest.raises(DataError, match=message):
        apply(tmp_path, make_scenes("a", "b"), **texts)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"The list .*nothing\.txt does not exist"):
        apply_lists(
            [Scene("a", "train", items=make_scenes("a")[0].items)],
            {"test": str(tmp_path / "nothing.txt")},
        )
