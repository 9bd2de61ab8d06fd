"""Tiles: their sizes, how many run at a time, and the order of results."""

import threading

import keras
import numpy as np
import pytest

from tfdeblur.errors import UserError
from tfdeblur.inference import tiles
from tfdeblur.inference.tiles import Tiles


def test_tiles_with_overlap_of_a_whole_tile_raise():
    with pytest.raises(UserError, match="64"):
        Tiles(64, 64)


def test_tiles_within_a_pixel_limit_have_suitable_sizes():
    assert Tiles.within(10**9) == Tiles(512, 64)
    assert Tiles.within(200 * 200) == Tiles(200, 50)
    assert Tiles.within(1, side=96) == Tiles(96, 24)
    assert Tiles.within(10**9, overlap=3) == Tiles(512, 3)


def test_tiles_halved_limit_their_overlap():
    assert Tiles(512, 64).halved() == Tiles(256, 64)
    assert Tiles(128, 100).halved() == Tiles(64, 32)


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
