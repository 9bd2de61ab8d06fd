"""The benchmark of building runs; its measurements are not checked."""

import sys

import pytest

from benchmarks import build_set
from tests.helpers.raw_data import make_gopro


@pytest.mark.slow
def test_build_set_prints_a_line_for_each_contestant(tmp_path, monkeypatch, capsys):
    data = make_gopro(tmp_path / "gopro", {"test": ["GOPR01"]}, frames=2)
    words = ["build_set", "--data", str(data), "--pairs", "3", "6", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--workers", "2"])
    assert build_set.main() in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "pairs/s" in line] == ["decode", "build"] * 2
    assert sum("build / decode = " in line for line in lines) == 2
    assert any(line.startswith("REDS, 24000 pairs") for line in lines)
