"""Tiles, splits and shards depend only on the listing and the settings."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import plan
from data_prep.plan import Settings
from data_prep.sources.source import Item, Listing
from tfdeblur.config.settings import validate
from tfdeblur.errors import ConfigError, DataError


def items(scene, count, width=40, height=30):
    return tuple(Item(scene, f"{n:04d}", height, width, f"{scene}/{n}.png") for n in range(count))


def listing(**splits):
    return Listing({name: value for name, value in splits.items()})


SIZE = (30, 40)


@pytest.mark.parametrize("text", ["128x96", "7x9", "64x64"])
def test_size_text_is_width_by_height(text):
    settings = validate(Settings, {"tile": text})
    assert settings.tile == tuple(map(int, reversed(text.split("x"))))
    assert plan.size_text(settings.tile) == text


@pytest.mark.parametrize("text", ["", "x", "12x", "0x4", "4x0", "-3x4", "3.5x4", "1x2x3", "axb"])
def test_settings_malformed_size_raises(text):
    with pytest.raises(ConfigError, match="tile"):
        validate(Settings, {"tile": text})


@given(st.integers(0, 200), st.integers(1, 250))
def test_thin_returns_evenly_spaced_items_in_order(length, count):
    kept = list(plan.thin(range(length), count))
    assert len(kept) == min(length, count)
    assert kept == sorted(set(kept))
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_make_plan_with_tile_keeps_test_frames_whole():
    settings = Settings(tile=(10, 16), stride=(10, 8))
    source = listing(train=items("a", 2), val=items("b", 1), test=items("c", 1))
    plans = plan.make_plan(source, settings)
    # 4 columns (0, 8, 16, 24) and 3 rows; 2 columns without overlap.
    assert (plans["train"].records, plans["train"].tile) == (2 * 12, (10, 16))
    assert (plans["val"].records, plans["val"].tile) == (6, (10, 16))
    assert (plans["test"].records, plans["test"].tile) == (1, SIZE)
    plans = plan.make_plan(source, dataclasses.replace(settings, test_tile=(15, 20)))
    assert (plans["test"].records, plans["test"].tile) == (4, (15, 20))


def test_make_plan_with_resize_counts_tiles_of_resized_frames():
    plans = plan.make_plan(
        listing(train=items("a", 1, 1280, 720), test=items("b", 1, 1280, 720)),
        Settings(resize=(288, 512), tile=(96, 128)),
    )
    assert plans["train"].records == 12
    assert plans["test"].tile == (288, 512)


def test_make_plan_fraction_applies_to_train_and_limit_to_all():
    source = listing(train=items("a", 60), val=items("b", 12), test=items("c", 12))
    counts = {n: p.records for n, p in plan.make_plan(source, Settings(fraction=1 / 6)).items()}
    assert counts == {"train": 10, "val": 12, "test": 12}
    counts = {n: p.records for n, p in plan.make_plan(source, Settings(limit=5)).items()}
    assert counts == {"train": 5, "val": 5, "test": 5}


def test_make_plan_small_fraction_keeps_one_frame():
    plans = plan.make_plan(listing(train=items("a", 3)), Settings(fraction=0.01))
    assert plans["train"].records == 1


def test_make_plan_train_is_shuffled_over_shards_and_test_in_order(monkeypatch):
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
    # A shard has frames from the whole scene.
    numbers = [int(item.frame) for item in train[0].items]
    assert max(numbers) - min(numbers) > 40
    assert train[3].file == "train-00003-of-00010.tfrecord"
    assert all(shard.shuffled for shard in train)


def test_make_plan_is_deterministic_and_depends_on_seed():
    source = listing(train=items("a", 30))
    assert plan.make_plan(source, Settings()) == plan.make_plan(source, Settings())
    assert plan.make_plan(source, Settings()) != plan.make_plan(source, Settings(seed=1))


def test_make_plan_tiny_shards_have_one_frame_each(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 1)
    plans = plan.make_plan(listing(train=items("a", 3)), Settings(tile=(5, 5)))
    assert [shard.records for shard in plans["train"].shards] == [48, 48, 48]


@pytest.mark.parametrize("split", ["train", "test"])
def test_make_plan_tile_larger_than_frame_raises(split):
    source = listing(**{split: (*items("a", 1, 80, 80), *items("b", 2))})
    tile = {"test_tile" if split == "test" else "tile": (30, 41)}
    with pytest.raises(DataError, match=r"41x30.*b/0\.png.*40x30"):
        plan.make_plan(source, Settings(**tile))


@pytest.mark.parametrize("split", ["train", "val"])
def test_make_plan_untiled_frames_of_two_sizes_raise(split):
    source = listing(**{split: (*items("a", 2), *items("b", 2, 30, 40))})
    with pytest.raises(DataError, match=r"--tile.*a/0\.png is 40x30 and b/0\.png is 30x40"):
        plan.make_plan(source, Settings())
    assert plan.make_plan(source, Settings(resize=(20, 20)))[split].tile == (20, 20)


def test_make_plan_test_frames_of_several_sizes_are_sorted_by_size(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 3 * 6 * 30 * 40)
    source = listing(test=(*items("a", 2, 40, 30), *items("b", 3, 50, 20), *items("c", 5, 40, 30)))
    found = plan.make_plan(source, Settings())["test"]
    sizes = sorted({(i.height, i.width) for i in source.splits["test"]})
    assert found.tile is None and found.records == 10
    assert found.sizes == dict(zip(sizes, (3, 7), strict=True))
    for number, shard in enumerate(found.shards):
        assert shard.file == f"test-{number:05d}-of-{len(found.shards):05d}.tfrecord"
        assert {(i.height, i.width) for i in shard.items} == {shard.tile}
    assert len(found.shards) == 4
    # Within a size, the order is that of the listing.
    keys = [item.key for shard in found.shards for item in shard.items]
    assert keys[3:] == [i.key for i in source.splits["test"] if i.scene != "b"]
    assert plan.make_plan(source, Settings(resize=(20, 20)))["test"].sizes == {(20, 20): 10}


def test_make_plan_shared_scene_or_repeated_frame_raises():
    with pytest.raises(DataError, match=r"'a'.*train and test"):
        plan.make_plan(listing(train=items("a", 1), test=items("a", 2)[1:]), Settings())
    with pytest.raises(DataError, match="'a/0000'"):
        plan.make_plan(listing(train=items("a", 1) * 2), Settings())


def test_make_plan_without_frames_raises():
    with pytest.raises(DataError, match="no frames"):
        plan.make_plan(listing(train=()), Settings())


def test_fingerprint_depends_on_everything_except_source_path():
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
