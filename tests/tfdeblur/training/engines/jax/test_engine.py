"""Devices of the JAX engine."""

from types import SimpleNamespace

import pytest

pytest.importorskip("jax")

import jax

from tfdeblur.errors import UserError, WorkerLost
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
    found, copies = engine._shared_by(devices, batch)
    assert copies == 1
    processes = [device.process_index for device in found]
    assert [processes.count(process) for process in range(len(counts))] == used
    assert [device for device in devices if device in found] == found


@pytest.mark.parametrize(
    ("processes", "each", "batch", "parts", "used"),
    [
        (8, 4, 4, 4, 1),
        (8, 4, 12, 4, 3),
        (8, 8, 1, 1, 1),
        (2, 8, 3, 1, 3),
        (3, 4, 4, 1, 4),
        (6, 2, 4, 2, 2),
    ],
)
def test_processes_without_a_part_of_their_own_repeat_another(
    processes, each, batch, parts, used, capsys
):
    devices = [
        SimpleNamespace(process_index=process, number=number)
        for process in range(processes)
        for number in range(each)
    ]
    found, copies = engine._shared_by(devices, batch)
    shares = [found[start : start + copies] for start in range(0, len(found), copies)]
    assert copies == processes // parts and len(shares) == parts * used
    assert batch % len(shares) == 0
    # Every process computes, on as many devices, and those of one share hold the same images.
    for number, share in enumerate(shares):
        first = number // used * copies
        assert [d.process_index for d in share] == list(range(first, first + copies))
        assert {d.number for d in share} == {number % used}
    assert f"{processes - parts} of {processes} processes only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "several", "kind"),
    [
        ("RESOURCE_EXHAUSTED: out of memory", False, UserError),
        ("UNAVAILABLE: the coordination service stopped", True, WorkerLost),
        ("INTERNAL: Gloo all-reduce failed: Connection closed by peer", True, WorkerLost),
        ("UNAVAILABLE: the coordination service stopped", False, None),
        ("INVALID_ARGUMENT: shapes differ", True, None),
    ],
)
def test_errors_of_a_lost_worker_are_told_from_others(text, several, kind):
    own = engine.JaxEngine()
    own.worker_names = ("the chief", "worker 1") if several else ("",)
    found = own.explain_failure(jax.errors.JaxRuntimeError(text))
    assert found is None if kind is None else isinstance(found, kind)


@pytest.mark.parametrize(
    ("capability", "expected"), [("8.0", True), ("7.5", False), ("gfx942", True), (None, True)]
)
def test_gpus_of_capability_8_and_those_without_number_have_bfloat16(capability, expected):
    gpu = SimpleNamespace(compute_capability=capability)
    assert engine._has_bfloat16(gpu) is expected
