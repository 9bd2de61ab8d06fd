"""Sizes, tiles, splits and shards follow from the listing and the settings alone."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import plan
from data_prep.plan import Settings, Size
from data_prep.sources.source import Item, Listing
from tfdeblur.errors import DataError


def items(scene, count, width=40, height=30):
    return tuple(Item(scene, f"{n:04d}", height, width, f"{scene}/{n}.png") for n in range(count))


def listing(**splits):
    return Listing({name: value for name, value in splits.items()})


SIZE = Size(40, 30)


@pytest.mark.parametrize(
    ("text", "size"), [("128x96", Size(128, 96)), (" 7X9 ", Size(7, 9)), ("64", Size(64, 64))]
)
def test_sizes_are_width_by_height(text, size):
    assert Size.parse(text) == size
    assert Size.parse(str(size)) == size


@pytest.mark.parametrize("text", ["", "x", "12x", "0x4", "4x0", "-3x4", "3.5x4", "1x2x3", "axb"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
        Size.parse(text)


@given(st.integers(0, 200), st.integers(1, 250))
def test_thinning_keeps_order_count_and_spread(length, count):
    kept = list(plan.thin(range(length), count))
    assert len(kept) == min(length, count)
    assert kept == sorted(set(kept))
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_training_and_validation_are_tiled_and_test_is_kept_whole():
    settings = Settings(tile=Size(16, 10), stride=Size(8, 10))
    source = listing(train=items("a", 2), val=items("b", 1), test=items("c", 1))
    plans = plan.make_plan(source, settings)
    # 4 starts across (0, 8, 16, 24) and 3 down; without overlap 2 across.
    assert (plans["train"].records, plans["train"].tile) == (2 * 12, Size(16, 10))
    assert (plans["val"].records, plans["val"].tile) == (6, Size(16, 10))
    assert (plans["test"].records, plans["test"].tile) == (1, SIZE)
    plans = plan.make_plan(source, dataclasses.replace(settings, test_tile=Size(20, 15)))
    assert (plans["test"].records, plans["test"].tile) == (4, Size(20, 15))


def test_tiles_are_counted_after_resizing():
    plans = plan.make_plan(
        listing(train=items("a", 1, 1280, 720), test=items("b", 1, 1280, 720)),
        Settings(resize=Size(512, 288), tile=Size(128, 96)),
    )
    assert plans["train"].records == 12
    assert plans["test"].tile == Size(512, 288)


def test_only_training_is_thinned_by_fraction_and_all_by_limit():
    source = listing(train=items("a", 60), val=items("b", 12), test=items("c", 12))
    counts = {n: p.records for n, p in plan.make_plan(source, Settings(fraction=1 / 6)).items()}
    assert counts == {"train": 10, "val": 12, "test": 12}
    counts = {n: p.records for n, p in plan.make_plan(source, Settings(limit=5)).items()}
    assert counts == {"train": 5, "val": 5, "test": 5}


def test_a_small_fraction_leaves_one_frame():
    plans = plan.make_plan(listing(train=items("a", 3)), Settings(fraction=0.01))
    assert plans["train"].records == 1


def test_training_frames_are_spread_over_shards_and_others_keep_their_order(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 10 * 2 * 3 * 40 * 30)
    source = listing(train=items("a", 95), test=items("b", 25))
    plans = plan.make_plan(source, Settings())
    train, test = plans["train"].shards, plans["test"].shards
    assert [shard.records for shard in test] == [8, 8, 9]
    assert sum((shard.items for shard in test), ()) == source.splits["test"]
    assert not any(shard.shuffled for shard in test)
    assert len(train) == 10
    mixed = sum((shard.items for shard in train), ())
    assert sorted(mixed, key=lambda item: item.key) == list(source.splits["train"])
    assert mixed != source.splits["train"]
    # Frames of one shard come from all over the scene.
    numbers = [int(item.frame) for item in train[0].items]
    assert max(numbers) - min(numbers) > 40
    assert train[3].file == "train-00003-of-00010.tfrecord"
    assert all(shard.shuffled for shard in train)


def test_the_plan_is_the_same_each_time_and_its_order_follows_the_seed():
    source = listing(train=items("a", 30))
    assert plan.make_plan(source, Settings()) == plan.make_plan(source, Settings())
    assert plan.make_plan(source, Settings()) != plan.make_plan(source, Settings(seed=1))


def test_a_shard_has_at_least_one_frame(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 1)
    plans = plan.make_plan(listing(train=items("a", 3)), Settings(tile=Size(5, 5)))
    assert [shard.records for shard in plans["train"].shards] == [48, 48, 48]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_tile_larger_than_its_frame_names_the_frame(split):
    source = listing(**{split: (*items("a", 1, 80, 80), *items("b", 2))})
    tile = {"test_tile" if split == "test" else "tile": Size(41, 30)}
    with pytest.raises(DataError, match=r"tile of 41x30 does not fit in b/0\.png, which is 40x30"):
        plan.make_plan(source, Settings(**tile))


@pytest.mark.parametrize(("split", "flag"), [("train", "--tile"), ("test", "--test-tile")])
def test_whole_frames_must_agree_in_size(split, flag):
    source = listing(**{split: (*items("a", 2), *items("b", 2, 30, 40))})
    with pytest.raises(
        DataError, match=rf"Without {flag}.*a/0\.png is 40x30 and b/0\.png is 30x40"
    ):
        plan.make_plan(source, Settings())
    assert plan.make_plan(source, Settings(resize=Size(20, 20)))[split].tile == Size(20, 20)


def test_scenes_in_two_splits_and_frames_listed_twice_are_refused():
    with pytest.raises(DataError, match="Scene 'a' is in both train and test"):
        plan.make_plan(listing(train=items("a", 1), test=items("a", 2)[1:]), Settings())
    with pytest.raises(DataError, match="'a/0000' is listed twice"):
        plan.make_plan(listing(train=items("a", 1) * 2), Settings())


def test_nothing_to_build_is_an_error():
    with pytest.raises(DataError, match="no frames"):
        plan.make_plan(listing(train=()), Settings())


def test_fingerprints_tell_builds_apart():
    def digest(options=None, count=5, source="gopro"):
        plans = plan.make_plan(listing(train=items("a", count)), Settings())
        return plan.fingerprint(source, options or {"seed": 0}, plans)

    assert digest() == digest()
    assert digest({"seed": 0, "source": "a"}) == digest({"seed": 0, "source": "b"})
    others = [
        digest({"seed": 1}),
        digest({"seed": 0, "tile": "9x9"}),
        digest(count=6),
        digest(source="reds"),
    ]
    assert len({digest(), *others}) == 5
