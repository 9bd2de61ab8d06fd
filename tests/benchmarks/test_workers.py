"""The workers benchmark: estimates, output, and a small run."""

import json
import sys

import pytest

from benchmarks import workers


def test_ring_seconds_of_many_chips_approach_twice_the_bytes():
    bytes_ = 10**9
    bandwidth = bytes_ / workers.LINK_BYTES_PER_SECOND
    two, many = (workers.ring_seconds(bytes_, 1, chips) for chips in (2, 256))
    assert two == pytest.approx(bandwidth + 2e-6)
    assert many == pytest.approx(2 * 255 / 256 * bandwidth + 510e-6)


def test_table_compares_with_the_first_row():
    row = {"recipe": "r", "replica_batch": 8, "bytes": 1 << 20, "updates": 1, "cores": 2}
    figures = [
        {**row, "workers": 1, "step": 0.1, "sum": 0.0},
        {**row, "workers": 2, "step": 0.125, "sum": 0.025},
        {**row, "workers": 3, "step": 0.2, "sum": 0.1},
    ]
    lines = workers.table(figures).splitlines()
    assert "80.0      100%" in lines[2] and lines[2].endswith("0%")
    assert "128.0       80%      25.0     20%" in lines[3]
    assert lines[4].endswith("more workers than cores")
    assert lines[5].startswith("on paper, 8 chips") and lines[6].startswith("on paper, 256 chips")


@pytest.mark.slow
def test_workers_measures_two_workers(tmp_path, monkeypatch, capsys):
    out = tmp_path / "figures.json"
    words = ["--workers", "2", "--steps", "1", "--rounds", "1", "--replica-batch", "1"]
    monkeypatch.setattr(sys, "argv", ["workers", *words, "--out", str(out)])
    assert workers.main() == 0
    (figures,) = json.loads(out.read_text())
    assert figures["workers"] == 2
    assert min(figures["sum"], figures["step"]) > 0
    assert "images/s" in capsys.readouterr().out
