"""Devices of the JAX engine."""

from types import SimpleNamespace

import pytest

pytest.importorskip("jax")

from tfdeblur.training.engines.jax import engine


@pytest.mark.parametrize(
    ("counts", "batch", "used"),
    [
        ((8,), 256, [8]),
        ((8,), 4, [4]),
        ((8, 8), 4, [2, 2]),
        ((4, 3), 12, [3, 3]),
        ((1, 1), 2, [1, 1]),
    ],
)
def test_each_process_uses_as_many_devices(counts, batch, used):
    devices = [
        SimpleNamespace(process_index=process, id=(process, number))
        for process, count in enumerate(counts)
        for number in reversed(range(count))
    ]
    found = engine._shared_by(devices, batch)
    processes = [device.process_index for device in found]
    assert [processes.count(process) for process in range(len(counts))] == used
    assert [device for device in devices if device in found] == found
