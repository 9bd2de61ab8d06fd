"""Tiles: their sizes, how many run at a time, and the order of results."""

import threading

import keras
import numpy as np
import pytest

from tfdeblur.errors import UserError
from tfdeblur.inference import tiles
from tfdeblur.inference.tiles import Tile, Tiles

BUDGET = 2**20


@pytest.mark.parametrize("wrong", [(64, 64), (0, 0), (64, -1), (None, -1)])
def test_tiles_that_overlap_by_a_whole_tile_or_less_than_nothing_raise(wrong):
    with pytest.raises(UserError, match=f"{wrong[1]} .*{wrong[0]}"):
        Tiles(*wrong)


def test_tiles_of_a_given_side_divide_every_larger_image_and_no_other():
    for height, width in ((97, 20), (20, 97), (4000, 4000)):
        assert Tiles(96).tile_for(height, width, BUDGET) == Tile(96, 96, 24)
        assert Tiles(96, 3).tile_for(height, width, 1) == Tile(96, 96, 3)
    assert Tiles(1024).tile_for(4000, 4000, BUDGET) == Tile(1024, 1024, 64)
    for height, width in ((96, 96), (1, 96)):
        assert Tiles(96).tile_for(height, width, 1) is None


def test_tiles_of_no_given_side_divide_images_beyond_the_limit_within_it():
    assert Tiles().tile_for(1024, 1024, BUDGET) is None
    for limit in (1, 2, 3, 60, 10_000, BUDGET, 3 * BUDGET):
        for height, width in ((1, 2 * limit), (2 * limit, 3), (3000, 4001)):
            tile = Tiles().tile_for(height, width, limit)
            if height * width <= limit:
                assert tile is None
            else:
                assert tile.pixels <= min(limit, 512 * 512)
                assert tile.overlap < min(tile.height, tile.width)


@pytest.mark.parametrize(
    ("size", "most"), [((2160, 3840), 10.63), ((1080, 1920), 2.59), ((3024, 4032), 16.52)]
)
def test_tiles_that_suit_an_image_compute_fewer_pixels_than_squares(size, most):
    tile = Tiles().tile_for(*size, BUDGET)
    boxes = tile.boxes(*size)
    assert len(boxes) == tile.along(size[0], tile.height) * tile.along(size[1], tile.width)
    computed = len(boxes) * tile.pixels
    assert computed <= len(Tile(512, 512, 64).boxes(*size)) * 512**2
    assert computed < most * 1e6
    assert tile.height <= size[0] and tile.width <= size[1]  # nothing is mirrored


def test_tiles_of_images_of_many_sizes_have_few_shapes():
    random = np.random.default_rng(5)
    sizes = random.integers(1100, 6000, (400, 2))
    found = {Tiles().tile_for(int(h), int(w), BUDGET) for h, w in sizes}
    assert 2 <= len(found) <= 37


def test_tiles_with_too_large_an_overlap_for_the_limit_raise():
    assert Tiles(overlap=100).tile_for(3000, 4000, BUDGET).overlap == 100
    with pytest.raises(UserError, match="2000"):
        Tiles(overlap=2000).tile_for(3000, 4000, BUDGET)


def test_schedule_on_a_cpu_is_parallel_and_on_other_devices_batched(monkeypatch):
    monkeypatch.setattr(tiles, "_CORES", 8)
    assert tiles._schedule(4, 45) == (1, 4)
    assert tiles._schedule(0, 45) == (1, 1)
    assert tiles._schedule(16, 45) == (1, 8)
    assert tiles._schedule(16, 3) == (1, 3)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    assert tiles._schedule(4, 45) == (4, 1)
    assert tiles._schedule(0, 45) == (1, 1)


def test_map_yields_results_in_order_and_limits_concurrency():
    running, max_running = [], 0
    both = threading.Barrier(2, timeout=60)  # breaks, and fails the test, unless two calls meet

    def restore(item):
        nonlocal max_running
        running.append(item)
        max_running = max(max_running, len(running))
        both.wait()
        running.remove(item)
        return np.full(3, item)

    found = list(tiles._map(restore, range(8), 2))
    np.testing.assert_array_equal(found, np.repeat(np.arange(8), 3).reshape(8, 3))
    assert max_running == 2


def test_map_with_one_worker_stays_in_the_calling_thread():
    main = threading.current_thread()
    assert all(tiles._map(lambda _: threading.current_thread() is main, range(3), 1))
