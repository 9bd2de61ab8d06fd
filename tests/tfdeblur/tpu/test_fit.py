"""Memory by batch size, and lower bounds of a step's duration."""

import dataclasses

import pytest

from tfdeblur.tpu import fit
from tfdeblur.tpu.chips import CHIPS
from tfdeblur.tpu.fit import Compiled, Line


def compiled(batch, needed, **values):
    memory = {"arguments": 0, "outputs": 0, "aliased": 0, "temporaries": needed, "code": 0}
    figures = {"flops": 0.0, "bytes_accessed": 0.0, "seconds": 1.0, **values}
    return Compiled(batch=batch, fits=True, needed=needed, memory=memory, **figures)


def test_needed_bytes_counts_an_aliased_output_once():
    memory = {"arguments": 100, "outputs": 60, "aliased": 50, "temporaries": 7, "code": 3}
    assert fit.needed_bytes(memory) == 120


def test_line_through_two_batches_gives_memory_and_largest_batch():
    line = fit.through(compiled(8, 180), compiled(2, 120))
    assert (line.fixed, line.each) == (100, 10)
    assert line.at(30) == 400
    assert line.largest(405) == 30
    assert line.largest(405, multiple=4) == 28
    assert line.largest(90) == 0
    with pytest.raises(ValueError, match="batch sizes"):
        fit.through(compiled(8, 180), compiled(8, 180))
    with pytest.raises(ValueError, match="does not grow"):
        Line(10, 0).largest(100)


def test_min_seconds_is_the_maximum_of_compute_and_transfer():
    chip = dataclasses.replace(CHIPS["v5e"], peak=1e12, bandwidth=1e9)
    busy = compiled(1, 0, flops=2e12, bytes_accessed=5e9)
    assert fit.min_seconds(busy, chip) == pytest.approx(2.0)
    assert fit.flow_seconds(busy, chip) == pytest.approx(5.0)
    moving = dataclasses.replace(busy, memory={**busy.memory, "arguments": 3 * 10**9})
    assert fit.min_seconds(moving, chip) == pytest.approx(3.0)
