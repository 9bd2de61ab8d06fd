"""The same program gives the same bits, however often and beside what it runs."""

import subprocess
import sys
import textwrap

import pytest

import tensorflow as tf
from tfdeblur.training.engines.tensorflow import runtime
from tfdeblur.training.engines.tensorflow.determinism import add_in_turn, make_repeatable

# What TensorFlow does with one addition differs between the first hundred calls of a function,
# before it knows how long the kernels take, and later ones.
COUNT = """
    import collections, sys
    import tensorflow as tf

    if sys.argv[1] == "tensorflow":
        tf.config.experimental.enable_op_determinism()
    else:
        from tfdeblur.training.engines.tensorflow.determinism import make_repeatable
        assert make_repeatable()

    def terms(x):
        return tf.sin(x), tf.cos(x) * 1.7, tf.exp(x) * 0.3

    @tf.function
    def written(x):
        a, b, c = terms(x)
        # Somebody else needs the first two as well.
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
    """Runs a program in a process of its own, where TensorFlow has not started."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_sums_of_three_are_the_same_in_every_call():
    assert python(COUNT, "tfdeblur") == ["1", "1"]


def test_tensorflow_alone_leaves_them_to_chance():
    """Where this fails, TensorFlow has mended it, and `repeatable` can do less."""
    assert max(int(count) for count in python(COUNT, "tensorflow")) > 1


def test_operations_run_in_turn_in_a_process_of_its_own():
    said = python("""
        import tensorflow as tf
        from tfdeblur import runtime
        runtime.seed_everything(3, deterministic=True)
        print(tf.config.threading.get_inter_op_parallelism_threads())
    """)
    assert said == ["1"]


def test_threads_that_run_already_are_told_of(capsys):
    assert not make_repeatable()
    runtime.seed_everything(3, deterministic=True)
    assert "TensorFlow was in use before" in capsys.readouterr().out


def test_terms_are_added_from_the_left():
    big, one = tf.constant(1e8), tf.constant(1.0)
    assert float(add_in_turn([big, -big, one])) == 1.0
    assert float(add_in_turn([one, big, -big])) == 0.0
    assert float(add_in_turn([one])) == 1.0


@pytest.mark.parametrize("kind", ["slices", "lists"])
def test_gradients_that_are_no_plain_tensors_are_added_too(kind):
    make_repeatable()
    table = tf.constant([[1.0], [2.0], [3.0]])

    @tf.function
    def gradient(table):
        with tf.GradientTape() as tape:
            tape.watch(table)
            if kind == "slices":
                parts = [tf.gather(table, [index]) for index in (0, 1, 1)]
            else:
                # A list that a loop reads has a list for a gradient.
                rows = tf.TensorArray(tf.float32, 3).unstack(table)
                parts = [rows.read(index) for index in (0, 1, 1)]
            loss = tf.add_n([tf.reduce_sum(part * part) for part in parts])
        return tf.convert_to_tensor(tape.gradient(loss, table))

    assert gradient(table).numpy().tolist() == [[2.0], [8.0], [0.0]]
