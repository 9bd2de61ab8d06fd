"""Fixtures with small raw data sets."""

import pathlib

import pytest

from data_prep import plan
from tests.helpers.raw_data import make_gopro, picture, save


@pytest.fixture
def gopro(tmp_path) -> pathlib.Path:
    """Four training scenes and one test scene of two pairs each, 40x30."""
    scenes = {"train": ["GOPR01", "GOPR02", "GOPR03", "GOPR04"], "test": ["GOPR09"]}
    return make_gopro(tmp_path / "gopro", scenes)


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """Six photographs of 40x30."""
    for number in range(6):
        save(tmp_path / "photos" / f"photo{number}.png", picture(number))
    return tmp_path / "photos"


@pytest.fixture
def small_shards(monkeypatch):
    """Limits shards to one or two frames of 40x30."""
    monkeypatch.setattr(plan, "SHARD_BYTES", 2 * 2 * 3 * 40 * 30)
