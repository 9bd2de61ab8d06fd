"""Compiled calls on one device and on two."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toys import two_replicas
from tfdeblur.config.train import RuntimeConfig
from tfdeblur.execution import default_executor
from tfdeblur.execution.tensorflow import TensorFlowExecutor
from tfdeblur.inference.compiled import CompiledFunctions
from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine


@pytest.mark.parametrize("strategy", [tf.distribute.get_strategy, two_replicas])
def test_compiled_function_keeps_the_order_of_the_batch(strategy):
    executor = TensorFlowExecutor(strategy())
    batch = np.arange(8, dtype=np.float32).reshape(4, 2)
    doubled = executor.compile(lambda images: images * 2.0)(executor.place(batch))
    executor.wait(doubled)
    np.testing.assert_array_equal(executor.fetch(doubled), batch * 2.0)


def test_compiled_function_follows_its_variables_and_is_traced_once():
    executor = default_executor()
    gain, traces = tf.Variable(1.0), []

    def scale(images):
        traces.append(images.shape)
        return images * gain

    scaled = executor.compile(scale)
    batch = executor.place(np.ones((2, 3), np.float32))
    before = executor.fetch(scaled(batch))
    gain.assign(3.0)
    np.testing.assert_array_equal(executor.fetch(scaled(batch)), 3.0 * before)
    assert len(traces) == 1


def test_float32_is_not_rounded_to_tf32_by_training_evaluating_and_restoring():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    for begin in (TensorFlowExecutor, TensorFlowEngine, lambda: CompiledFunctions(lambda x: x)):
        tf.config.experimental.enable_tensor_float_32_execution(True)
        begun = begin()
        if isinstance(begun, TensorFlowEngine):
            begun.start(0, RuntimeConfig())
        assert not enabled()
