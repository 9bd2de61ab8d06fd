"""The benchmark of synthetic blur runs; its measurements are not checked."""

import sys

import pytest

from benchmarks import synthesis


@pytest.mark.slow
def test_synthesis_prints_a_line_for_each_contestant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "synthesis --size 16 --batch 2 --records 4 --rounds 1 --batches 1"
    monkeypatch.setattr(sys, "argv", words.split())
    assert synthesis.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*synthesis.contestants(), "scipy"]
    assert all("of stored" in line for line in lines[1:])
