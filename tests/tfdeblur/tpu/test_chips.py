"""Published figures of TPU generations are plausible."""

from typing import get_args

from tfdeblur.tpu.chips import CHIPS, GIB, ChipName


def test_every_chip_name_has_a_chip_with_a_matching_topology():
    assert set(get_args(ChipName)) == set(CHIPS)
    assert all(chip.topology.startswith(f"{name}:") for name, chip in CHIPS.items())


def test_figures_are_in_operations_and_bytes():
    for chip in CHIPS.values():
        # Operations per byte at which compute and memory are balanced: tens to hundreds.
        assert 20 < chip.peak / chip.bandwidth < 1000
        assert 7 * GIB < chip.usable < 96 * GIB
    assert CHIPS["v5e"].usable == 15.75 * GIB
