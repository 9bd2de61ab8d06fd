"""Devices that share a global batch."""

import pytest

from tfdeblur.training.engines import cluster


@pytest.mark.parametrize(
    ("devices", "batch", "used"), [(8, 256, 8), (8, 4, 4), (8, 12, 6), (8, 1, 1), (3, 4, 2)]
)
def test_as_many_devices_as_can_share_the_batch_are_used(devices, batch, used, capsys):
    assert cluster.sharing(range(devices), batch) == list(range(used))
    printed = capsys.readouterr().out
    assert printed == "" if used == devices else f"{devices - used} of {devices}" in printed


def test_without_a_batch_all_devices_are_used(capsys):
    assert cluster.sharing("abc", None) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
