"""The endurance benchmark: the fitted line, and the memory of a process."""

import os

import pytest

from benchmarks import endurance


def test_fit_ignores_growth_in_the_first_half():
    early = [(step, 100.0 + step) for step in range(0, 1000, 50)]
    late = [(step, 1100.0 + 0.002 * (step - 1000)) for step in range(1000, 2500, 50)]
    slope, start, end = endurance.fit(early + late)
    assert slope == pytest.approx(2.0)
    assert start < end == pytest.approx(1100.0 + 0.002 * 1450)


def test_resident_of_a_process_and_of_none():
    assert 1 < endurance.resident(os.getpid()) < 1e6
    assert endurance.resident((1 << 22) + 1) == 0.0
