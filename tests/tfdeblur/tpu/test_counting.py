"""Multiplications and sums of small programs are counted."""

import pytest

pytest.importorskip("jax")

import jax  # after the check for JAX
import jax.numpy as jnp
import numpy as np

from tfdeblur.tpu.counting import Counted, count

BF16 = jnp.bfloat16


def counted(function, *shapes, dtype=BF16):
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return count(jax.jit(function).trace(*arguments).jaxpr)


def test_count_of_a_matrix_product():
    found = counted(lambda a, b: (a @ b).astype("float32"), (2, 3), (3, 5))
    assert found.multiplications == {"bfloat16": 2 * 3 * 5}
    assert found.once == 30 and found.repetition == 1.0 and found.bfloat16_share == 1.0
    assert found.problems(True) == []
    assert len(found.problems(False)) == 1


def convolve(images, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    return jax.lax.conv_general_dilated(
        images, kernel, **options, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_count_of_convolutions():
    shapes = (2, 8, 8, 3), (3, 3, 3, 4)
    each = 3 * 3 * 3 * 4
    found = counted(convolve, *shapes, dtype=jnp.float32)
    assert found.multiplications == {"float32": 2 * 8 * 8 * each}
    strided = counted(lambda *a: convolve(*a, window_strides=(2, 2)), *shapes)
    assert strided.once == 2 * 4 * 4 * each
    # The zeros between the pixels of a transposed convolution do not count.
    transposed = counted(
        lambda *a: convolve(*a, lhs_dilation=(2, 2), padding=[(1, 1)] * 2), *shapes
    )
    assert transposed.once == 2 * 15 * 15 * each // 4
    grouped = counted(lambda *a: convolve(*a, feature_group_count=3), (2, 8, 8, 3), (3, 3, 1, 6))
    assert grouped.once == 2 * 8 * 8 * 3 * 3 * 6


def test_count_repeats_loops():
    def loop(a, b):
        def nested(a, _):
            return jax.lax.scan(lambda a, _: (a @ b, None), a, None, length=4)[0], None

        return jax.lax.scan(nested, a, None, length=5)[0] @ b

    found = counted(loop, (3, 3), (3, 3))
    assert found.once == 2 * 27
    assert found.multiplications == {"bfloat16": 21 * 27}
    assert found.repetition == 10.5


def test_count_with_one_operand_in_float32_is_in_float32():
    arguments = [jax.ShapeDtypeStruct((3, 3), dtype) for dtype in (BF16, jnp.float32)]
    found = count(jax.jit(lambda a, b: a @ b).trace(*arguments).jaxpr)
    assert found.multiplications == {"float32": 27}
    assert len(found.problems(True)) == 1


def test_count_finds_sums_in_bfloat16():
    # The gradient of a bias is such a sum.
    def step(bias, images):
        loss = jax.grad(lambda bias: jnp.sum((images + bias).astype("float32")))
        return loss(bias).astype("float32")

    (problem,) = counted(step, (4,), (2, 8, 4)).problems(True)
    assert "reduce_sum [2,8,4]" in problem
    assert counted(lambda x: jnp.sum(x.astype("float32")), (2, 8, 4)).problems(True) == []
    # A maximum is exact.
    assert counted(lambda x: jnp.max(x).astype("float32"), (2, 8, 4)).sums == ()


@pytest.mark.parametrize(("side", "found"), [(2, 0), (4, 0), (8, 1)])
def test_count_finds_sums_over_large_windows_only(side, found):
    def pooled(images):
        window = (1, side, side, 1)
        zero = np.zeros((), BF16)
        sums = jax.lax.reduce_window(images, zero, jax.lax.add, window, window, "VALID")
        return sums.astype("float32")

    assert len(counted(pooled, (1, 16, 16, 3)).sums) == found


@pytest.mark.parametrize("function", [jnp.square, jnp.sqrt, lambda x: x / (x + 1), lambda x: x * x])
def test_count_finds_norms_in_bfloat16(function):
    def norm(x):
        return jnp.sum(function(x).astype("float32"))

    (problem,) = counted(norm, (2, 8)).problems(True)
    assert "norm or loss" in problem
    assert counted(lambda x: norm(x.astype("float32")), (2, 8)).norms == ()
    # The result is an activation.
    assert counted(lambda x: function(x).astype("float32"), (2, 8)).norms == ()


def test_count_finds_norms_in_functions_and_loops():
    def step(x):
        squares = jax.jit(jnp.square)(x)
        total, _ = jax.lax.scan(
            lambda total, row: (total + jnp.sum(row.astype("float32")), None), 0.0, squares
        )
        return total

    assert len(counted(step, (4, 8)).norms) == 1


def test_count_finds_results_in_bfloat16():
    assert len(counted(lambda x: (x, x.astype("float32")), (3,)).results) == 1


def test_no_multiplications_are_no_problem():
    nothing = Counted({}, 0)
    assert nothing.problems(True) == [] and nothing.repetition == 1.0
