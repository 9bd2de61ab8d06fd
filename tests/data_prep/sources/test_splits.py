"""Scenes are assigned to splits, with notes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.layouts.splits import SceneOptions, assign_splits, matches, select
from tfdeblur.errors import ConfigError

NATIVE = {**{f"t{n:02d}": "train" for n in range(16)}, "e1": "test", "e2": "test"}


def of(splits, name):
    return sorted(scene for scene, split in splits.items() if split == name)


def test_assign_splits_takes_val_from_train():
    splits, notes = assign_splits(NATIVE, SceneOptions())
    assert len(of(splits, "val")) == 2 and len(of(splits, "train")) == 14
    assert of(splits, "test") == ["e1", "e2"]
    (note,) = notes
    assert "2 of 16 training scenes" in note and all(scene in note for scene in of(splits, "val"))


def test_assign_splits_depends_on_names_and_seed():
    first = assign_splits(NATIVE, SceneOptions())
    assert assign_splits(dict(reversed(NATIVE.items())), SceneOptions()) == first
    choices = {
        tuple(of(assign_splits(NATIVE, SceneOptions(seed=seed))[0], "val")) for seed in range(8)
    }
    assert len(choices) > 3


@given(st.integers(0, 40), st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 5), st.booleans())
def test_assign_splits_always_keeps_a_train_scene(count, val_share, test_share, seed, tested):
    native = {f"s{n}": "train" for n in range(count)} | ({"e": "test"} if tested else {})
    options = SceneOptions(val_share=val_share, test_share=test_share, seed=seed)
    splits, notes = assign_splits(native, options)
    assert set(splits) == set(native)
    if count:
        assert of(splits, "train")
        for share, name in ((val_share, "val"), (test_share, "test")):
            assert bool(of(splits, name)) or share == 0 or any(f"No {name}" in n for n in notes)
    if tested:
        assert of(splits, "test") == ["e"]


def test_assign_splits_keeps_original_val():
    native = {"a": "train", "b": "train", "v": "val"}
    assert assign_splits(native, SceneOptions()) == (native, [])


def test_assign_splits_zero_share_has_no_val():
    splits, notes = assign_splits(NATIVE, SceneOptions(val_share=0.0))
    assert splits == NATIVE and not notes


def test_assign_splits_named_scenes_replace_split():
    options = SceneOptions(test_scenes=("e1",), val_scenes=("t0[0-2]",))
    splits, notes = assign_splits(NATIVE, options)
    assert of(splits, "test") == ["e1"]
    assert of(splits, "val") == ["t00", "t01", "t02"]
    assert splits["e2"] == "train"
    assert not notes


def test_assign_splits_test_only_set_gets_train_scenes():
    native = {f"GOPR0{n}_11_00": "test" for n in (384, 396, 854, 862, 871)}
    options = SceneOptions(test_scenes=("*0854*", "*0862*", "*0871*"), val_share=0.0)
    splits, _ = assign_splits(native, options)
    assert of(splits, "train") == ["GOPR0384_11_00", "GOPR0396_11_00"]
    assert len(of(splits, "test")) == 3
    splits, notes = assign_splits(native, SceneOptions())
    assert set(splits.values()) == {"test"}
    assert "No train split" in notes[0] and "--test-scenes" in notes[0]


def test_assign_splits_single_scene_adds_notes():
    splits, notes = assign_splits({"train/020": "train"}, SceneOptions(test_share=0.2))
    assert splits == {"train/020": "train"}
    assert len(notes) == 2 and all("'train/020'" in note for note in notes)


def test_assign_splits_unknown_or_ambiguous_scene_raises():
    with pytest.raises(ConfigError, match=r"--val-scenes t99"):
        assign_splits(NATIVE, SceneOptions(val_scenes=("t99",)))
    with pytest.raises(ConfigError, match="t03"):
        assign_splits(NATIVE, SceneOptions(val_scenes=("t03",), test_scenes=("t0*",)))
    with pytest.raises(ConfigError, match="--scenes nope"):
        select(list(NATIVE), SceneOptions(scenes=("nope",)))


def test_select_returns_matching_scenes():
    assert select(list(NATIVE), SceneOptions()) == list(NATIVE)
    assert select(list(NATIVE), SceneOptions(scenes=("e*", "t01"))) == ["t01", "e1", "e2"]


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [("000", True), ("train/000", True), ("val/000", False), ("00?", True), ("00", False)],
)
def test_matches_full_name_or_last_part(pattern, answer):
    assert matches("train/000", [pattern]) is answer
