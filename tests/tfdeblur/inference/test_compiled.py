"""Compiled functions: traced once per shape, and never called by two threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tfdeblur.inference import compiled
from tfdeblur.inference.compiled import CompiledFunctions

ANY_SIZE = (None, None, None, 3)


def images(side, value=1.0):
    return np.full((1, side, side, 3), value, np.float32)


def test_compiled_functions_are_traced_once_per_shape():
    traces = []

    def double(batch):
        traces.append(tuple(batch.shape))
        return batch * 2

    functions = CompiledFunctions(double)
    for side in (4, 5):
        np.testing.assert_array_equal(functions(images(side), ANY_SIZE), images(side, 2.0))
    for _ in range(2):
        np.testing.assert_array_equal(functions(images(8), (1, 8, 8, 3)), images(8, 2.0))
    assert traces == [ANY_SIZE, (1, 8, 8, 3)]


def test_compiled_functions_called_by_threads_use_a_copy_per_thread(monkeypatch):
    make, shared, used = compiled._compile, [], set()
    together = threading.Barrier(3, timeout=60)  # breaks unless three calls run at once

    def watched(function, shape):
        copy, busy = make(getattr(function, "copy", function), shape), threading.Lock()

        def call(batch):
            if not busy.acquire(blocking=False):
                shared.append(copy)
                return copy(batch)
            used.add(copy)
            try:
                together.wait()
                return copy(batch)
            finally:
                busy.release()

        call.copy = copy
        return call

    monkeypatch.setattr(compiled, "_compile", watched)
    functions = CompiledFunctions(lambda batch: batch * 2)
    for _ in range(3):  # later rounds use the copies of the first
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda v: functions(images(4, v), ANY_SIZE), (1.0, 2.0, 3.0)))
        for value, result in zip((1.0, 2.0, 3.0), results, strict=True):
            np.testing.assert_array_equal(result, images(4, 2 * value))
    assert not shared and len(used) == 3


def test_compiled_functions_after_an_error_use_the_same_copy():
    functions = CompiledFunctions(lambda batch: tf.ensure_shape(batch, [1, 4, 4, 3]))
    for _ in range(2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            functions(images(5), ANY_SIZE)
    np.testing.assert_array_equal(functions(images(4), ANY_SIZE), images(4))
    assert [len(idle) for idle in functions._idle.values()] == [1]
