"""Deterministic programs give the same bits in every call and process."""

import subprocess
import sys
import textwrap

import pytest
import tensorflow as tf

from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.determinism import add_in_order, make_deterministic

# TensorFlow adds differently in the first hundred calls of a function, before it has measured how
# long the kernels take, and in later ones.
COUNT = """
    import collections, sys
    import tensorflow as tf

    if sys.argv[1] == "tensorflow":
        tf.config.experimental.enable_op_determinism()
    else:
        from tfdeblur.training.engines.tensorflow.determinism import make_deterministic
        assert make_deterministic()

    def terms(x):
        return tf.sin(x), tf.cos(x) * 1.7, tf.exp(x) * 0.3

    @tf.function
    def written(x):
        a, b, c = terms(x)
        # Another op uses the first two as well.
        return (a + b) + c, tf.matmul(a, b)

    @tf.function
    def gradient(x):
        a, b, c = terms(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(x * a) + tf.reduce_sum(x * b) + tf.reduce_sum(x * c)
        return tape.gradient(loss, x), tf.matmul(a, b)

    x = tf.random.stateless_normal([64, 64], [1, 2])
    for function in (written, gradient):
        print(len({function(x)[0].numpy().tobytes() for _ in range(1000)}))
"""


def python(code: str, *arguments: str) -> list[str]:
    """Runs a program in its own process, in which TensorFlow has not started."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_sums_of_three_are_identical_in_every_call():
    assert python(COUNT, "tfdeblur") == ["1", "1"]


@pytest.mark.slow
def test_sums_of_three_differ_with_tensorflow_alone():
    """If this fails, TensorFlow has fixed it, and `determinism` can be simplified."""
    assert max(int(count) for count in python(COUNT, "tensorflow")) > 1


@pytest.mark.slow
def test_ops_run_serially_in_a_new_process():
    said = python("""
        import tensorflow as tf
        from tfdeblur.training.engines.tensorflow import runtime
        runtime.seed_everything(3, deterministic=True)
        print(tf.config.threading.get_inter_op_parallelism_threads())
    """)
    assert said == ["1"]


def test_make_deterministic_after_tensorflow_started_warns(capsys):
    assert not make_deterministic()
    runtime.seed_everything(3, deterministic=True)
    assert "runtime.deterministic" in capsys.readouterr().out


def test_add_in_order_adds_from_the_left():
    big, one = tf.constant(1e8), tf.constant(1.0)
    assert float(add_in_order([big, -big, one])) == 1.0
    assert float(add_in_order([one, big, -big])) == 0.0
    assert float(add_in_order([one])) == 1.0


@pytest.mark.parametrize("kind", ["slices", "lists"])
def test_gradients_other_than_tensors_are_added(kind):
    make_deterministic()
    table = tf.constant([[1.0], [2.0], [3.0]])

    @tf.function
    def gradient(table):
        with tf.GradientTape() as tape:
            tape.watch(table)
            if kind == "slices":
                parts = [tf.gather(table, [index]) for index in (0, 1, 1)]
            else:
                # The gradient of a list of tensors is a list.
                rows = tf.TensorArray(tf.float32, 3).unstack(table)
                parts = [rows.read(index) for index in (0, 1, 1)]
            loss = tf.add_n([tf.reduce_sum(part * part) for part in parts])
        return tf.convert_to_tensor(tape.gradient(loss, table))

    assert gradient(table).numpy().tolist() == [[2.0], [8.0], [0.0]]
