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
    "seconds": {
        "tfdeblur": [2.0, 3.0, 4.0],
        "torch": [6.0, 6.0, 6.0],
        "torch, keeping memory": [5.0, 5.0, 7.0],
    },
    "gib": {"tfdeblur": 1.5, "torch": 1.25, "torch, keeping memory": 2.25},
    "ratio": 2.0,
    "differ": 3e-7,
}


def test_count_tiles_of_512_of_a_4k_frame_is_45():
    assert restore.count_tiles(2160, 3840, (512, 512, 64)) == 45


def test_reached_checks_speed_memory_and_the_limit_at_4k():
    def gib(*values):
        return dict(zip(ROW["gib"], values, strict=True))

    assert restore.reached(ROW)
    assert not restore.reached({**ROW, "ratio": 0.99})
    assert not restore.reached({**ROW, "gib": gib(2.5, 1.25, 2.25)})
    assert not restore.reached({**ROW, "gib": gib(6.5, 1.0, 7.0)})
    assert restore.reached({**ROW, "gib": gib(6.5, 1.0, 7.0), "size": "1280x720"})


def test_line_shows_medians():
    shown = "nafnet32 3840x2160 45 3.0 6.0 5.0 2.00 1.50 1.25 2.25 3e-07"
    assert restore.line(ROW).split() == shown.split()


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
    )
    (row,) = restore.race(arguments)["rows"]
    assert row["tiles"] == 1
    # Zero if both libraries call the same convolutions.
    assert row["differ"] <= restore._TOLERANCES.get(network, restore.TOLERANCE)
    assert min(row["gib"].values()) > 0
