"""Published figures of TPU generations, in one order of magnitude and one unit."""

from typing import get_args

from tfdeblur.tpu.chips import CHIPS, GIB, ChipName


def test_every_name_has_a_chip_and_a_topology_of_its_own():
    assert set(get_args(ChipName)) == set(CHIPS)
    assert all(chip.topology.startswith(f"{name}:") for name, chip in CHIPS.items())


def test_units_are_operations_and_bytes():
    for chip in CHIPS.values():
        # Operations for each byte at which a chip is busy with both: some tens to some hundreds.
        assert 20 < chip.peak / chip.bandwidth < 1000
        assert 7 * GIB < chip.usable < 96 * GIB
    assert CHIPS["v5e"].usable == 15.75 * GIB
