"""The restoration benchmark: targets, output, and equal results of both libraries."""

import argparse
import importlib.util
import sys

import pytest

from benchmarks import restore

ROW = {
    "network": "nafnet32",
    "size": "3840x2160",
    "tiles": 45,
    "seconds": {"tfdeblur": [2.0, 3.0, 4.0], "torch": [6.0, 6.0, 6.0]},
    "gib": {"tfdeblur": 1.5, "torch": 1.25},
    "ratio": 2.0,
    "differ": 3e-7,
}


def test_count_tiles_of_512_of_a_4k_frame_is_45():
    assert restore.count_tiles(2160, 3840, (512, 512, 64)) == 45


def test_reached_checks_speed_always_and_memory_at_4k():
    large = {"tfdeblur": 6.5, "torch": 1.0}
    assert restore.reached(ROW)
    assert not restore.reached({**ROW, "ratio": 0.99})
    assert not restore.reached({**ROW, "gib": large})
    assert restore.reached({**ROW, "gib": large, "size": "1280x720"})


def test_table_shows_medians():
    printed = restore.table({"threads": 2, "versions": ["A 1", "B 2"], "rows": [ROW]})
    assert printed.splitlines()[0] == "2 threads; A 1, B 2"
    shown = ["nafnet32", "3840x2160", "45", "3.0", "6.0", "2.00", "1.50", "1.25", "3e-07"]
    assert printed.splitlines()[2].split() == shown


def test_restore_without_pytorch_names_the_flag(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["restore"])
    with pytest.raises(SystemExit):
        restore.main()
    assert "--torch-python" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("network", restore.NETWORKS)
def test_race_of_both_libraries_restores_alike(network):
    arguments = argparse.Namespace(
        torch_python=sys.executable,
        networks=[network],
        sizes=["400x398"],  # wider than the window, not a multiple of 16
        rounds=1,
        threads=1,
        torch_keeps_memory=False,
    )
    (row,) = restore.race(arguments)["rows"]
    assert row["tiles"] == 1
    # Zero if both libraries call the same convolutions.
    assert row["differ"] < restore.TOLERANCE
    assert min(row["gib"].values()) > 0
