"""For any sizes, tiles and strides, shards contain exactly the tiles of the plan."""

import itertools

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import frames, images, journal, plan
from data_prep.sources.source import Item, Listing, Source
from tfdeblur.data import schema
from tfdeblur.errors import DataError
from tfdeblur.io import files

SIDE = st.integers(1, 40)
SIZE = st.tuples(SIDE, SIDE)
SETTINGS = st.builds(
    plan.Settings,
    encoding=st.sampled_from(["raw", "png"]),
    seed=st.integers(0, 3),
    resize=st.none() | SIZE,
    tile=SIZE,
    stride=st.none() | SIZE,
    test_tile=st.none() | SIZE,
    fraction=st.floats(0.01, 1),
    limit=st.none() | st.integers(1, 4),
)


class Pictures(Source):
    """Images of random pixels, different in both halves."""

    def listing(self):
        raise NotImplementedError("not used")

    def load(self, item):
        rng = np.random.default_rng(list(item.key.encode()))
        return tuple(rng.integers(0, 256, (2, item.height, item.width, 3), np.uint8))


def listing_of(sizes):
    splits = {}
    for name, found in zip(("train", "val", "test"), sizes, strict=True):
        splits[name] = tuple(
            Item(name, f"{number:02d}", *size) for number, size in enumerate(found)
        )
    return Listing(splits)


def starts(length, tile, stride):
    """Start of tiles, by definition."""
    return [place for place in range(length) if place % stride == 0 and place + tile <= length]


@settings(deadline=None, max_examples=200)
@given(st.tuples(*[st.lists(SIZE, max_size=5)] * 3), SETTINGS)
def test_make_plan_counts_match_definition(sizes, options):
    listing = listing_of(sizes)
    try:
        plans = plan.make_plan(listing, options)
    except DataError as error:
        assert any(
            words in str(error) for words in ("does not fit", "same size", "nothing to build")
        )
        return
    for name, split in plans.items():
        items = [item for shard in split.shards for item in shard.items]
        assert len({item.key for item in items}) == len(items) <= len(listing.splits[name])
        assert options.limit is None or len(items) <= options.limit
        for shard in split.shards:
            assert split.tile in (None, shard.tile) and shard.items
            assert split.tile or name == "test"
            count = 0
            for item in shard.items:
                size = options.resize or (item.height, item.width)
                across = starts(size[1], shard.tile[1], shard.stride[1])
                down = starts(size[0], shard.tile[0], shard.stride[0])
                boxes = plan.boxes(size, shard.tile, shard.stride)
                assert [(b.top, b.left) for b in boxes] == list(itertools.product(down, across))
                count += len(boxes)
            assert shard.records == count


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    sizes=st.tuples(*[st.lists(SIZE, max_size=3)] * 3),
    options=SETTINGS,
    per_shard=st.integers(1, 20_000),
)
def test_make_shard_records_match_cut_pixels(tmp_path_factory, sizes, options, per_shard):
    saved, plan.SHARD_BYTES = plan.SHARD_BYTES, per_shard
    try:
        plans = plan.make_plan(listing_of(sizes), options)
    except DataError:
        return
    finally:
        plan.SHARD_BYTES = saved
    out = str(tmp_path_factory.mktemp("out", numbered=True))
    journal.begin(out, {}, ())
    source = Pictures()
    job = frames.Job("none", None, options, out)
    for split in plans.values():
        for shard in split.shards:
            made = job.make_shard(source, shard)
            path = files.join(out, shard.file)
            assert made == journal.made(out)[shard.file]
            assert made.records == shard.records
            assert (made.bytes, made.sha256) == (files.size(path), files.sha256_of(path))
            check_records(source, shard, options, path)


def check_records(source, shard, options, path):
    places = set()
    by_key = {item.key: item for item in shard.items}
    for data in tf.data.TFRecordDataset([path]):
        height, width = shard.tile
        record = schema.decode_record(data.numpy(), height, width, options.encoding)
        item = by_key[f"{record.scene}/{record.frame}"]
        size = options.resize or (item.height, item.width)
        assert (record.source_height, record.source_width) == size
        for half, stored in zip(source.load(item), (record.blurred, record.sharp), strict=True):
            frame = images.resize(half, size)
            cut = frame[record.top : record.top + height, record.left :][:, :width]
            np.testing.assert_array_equal(stored, cut)
        places.add((item.key, record.top, record.left))
    assert len(places) == shard.records
