"""The memory of the host."""

import os

import pytest

from tfdeblur.ops import devices


def test_host_memory_is_positive():
    assert devices.host_memory() > 1 << 28


@pytest.mark.parametrize(("limit", "expected"), [("4096\n", 4096), ("max\n", 1 << 20)])
def test_host_memory_is_at_most_the_limit_of_the_container(limit, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 10)
    path = tmp_path / "memory.max"
    path.write_text(limit)
    monkeypatch.setattr(devices, "_MEMORY_LIMITS", (str(path), str(tmp_path / "missing")))
    assert devices.host_memory() == expected
