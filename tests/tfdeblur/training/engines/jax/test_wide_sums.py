"""Gradients are summed in float32 where networks compute in bfloat16."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

count = pytest.importorskip("tfdeblur.tpu.counting").count
widened = pytest.importorskip("tfdeblur.training.engines.jax.wide_sums").widened

SHAPES = {"kernel": (3, 3, 3, 4), "bias": (4,), "slope": (1, 1, 4), "last": (4, 2)}


def network(weights, x):
    """A convolution with bias, PReLU and a product of matrices, in bfloat16 as Keras casts."""
    low = {name: value.astype("bfloat16") for name, value in weights.items()}
    x = x.astype("bfloat16")
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, low["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    y = y + low["bias"].reshape(1, 1, 1, -1)
    y = jax.nn.relu(y) - low["slope"] * jax.nn.relu(-y)
    return jnp.mean(jnp.square((y @ low["last"]).astype("float32")))


def step(weights, x):
    """Two updates in a loop, each with gradients of two passes."""

    def update(weights, scale):
        gradients = jax.grad(lambda w: network(w, x) + network(w, scale * x))(weights)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), gradients

    return jax.lax.scan(update, weights, jnp.array([0.5, 2.0]))


@pytest.fixture
def arguments():
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.3, shape) for name, shape in SHAPES.items()}
    weights = {name: jnp.asarray(value, "float32") for name, value in weights.items()}
    return weights, jnp.asarray(random.normal(0, 1, (8, 16, 16, 3)), "float32")


def test_no_sum_is_left_in_bfloat16(arguments):
    before, after = (count(jax.make_jaxpr(f)(*arguments)) for f in (step, widened(step)))
    assert before.sums and before.problems(bfloat16=True)
    assert not after.problems(bfloat16=True)
    assert after.multiplications == before.multiplications


def test_no_sum_is_left_in_bfloat16_with_recomputation(arguments):
    weights, x = arguments
    gradient = jax.grad(jax.checkpoint(network))
    assert count(jax.make_jaxpr(gradient)(weights, x)).sums
    assert not count(jax.make_jaxpr(widened(gradient))(weights, x)).sums
    recomputing, keeping = (widened(f, cpu=True) for f in (gradient, jax.grad(network)))
    found, expected = (jax.jit(f)(weights, x) for f in (recomputing, keeping))
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-2, atol=1e-4)


def test_gradient_is_the_sum_before_rounding(arguments):
    _, x = arguments
    factors = jnp.asarray(np.random.default_rng(1).normal(1, 1, x.shape), "float32")

    def loss(bias):
        y = x.astype("bfloat16") + bias.astype("bfloat16")
        return jnp.sum(y.astype("float32") * factors)

    exact = np.asarray(factors.astype("bfloat16"), np.float64).sum(axis=(0, 1, 2))
    plain, wide = (jax.jit(f(jax.grad(loss)))(jnp.zeros(3)) for f in (lambda f: f, widened))
    assert np.abs(wide / exact - 1).max() < 1e-5 < np.abs(plain / exact - 1).max()


def test_functions_in_float32_are_unchanged(arguments):
    def function(weights, x):
        return jnp.mean(jax.nn.relu(x @ weights["kernel"][0, 0]) ** 2)

    gradient = jax.grad(function)
    expected, found = (jax.jit(f)(*arguments) for f in (gradient, widened(gradient)))
    for name in SHAPES:
        np.testing.assert_array_equal(found[name], expected[name])


def test_sum_that_is_also_used_in_bfloat16_keeps_its_dtype(arguments):
    _, x = arguments

    def function(x):
        low = x.astype("bfloat16")
        total = jax.lax.reduce_sum_p.bind(low, axes=(0, 1, 2), out_sharding=None)
        other = jax.lax.reduce_sum_p.bind(low, axes=(0, 1, 2), out_sharding=None) + low[0, 0, 0]
        return total.astype("float32"), other.astype("float32"), total * 2

    found = widened(function)(x)
    assert [str(part.dtype) for part in found] == ["float32", "float32", "bfloat16"]


def test_sum_that_stays_in_bfloat16_is_rounded_once():
    # The gradient of factors by channel, as in the channel attention of NAFNet.
    features = jnp.asarray(np.random.default_rng(0).normal(0.1, 1, (2, 256, 256, 4)), "bfloat16")

    def loss(image):
        factors = jnp.mean(image, axis=(1, 2), keepdims=True).astype("bfloat16")
        return jnp.sum((features * jax.nn.sigmoid(factors)).astype("float32"))

    low, wide = (count(jax.make_jaxpr(f(jax.grad(loss)))(features)) for f in (lambda f: f, widened))
    assert low.sums and not wide.sums

    def scaled(factors):
        return jnp.sum((features * factors).astype("float32"))

    exact = np.asarray(features, np.float64).sum(axis=(1, 2), keepdims=True)
    found = jax.jit(widened(jax.grad(scaled)))(jnp.ones((2, 1, 1, 4), "bfloat16"))
    assert np.abs(np.asarray(found, np.float64) / exact - 1).max() <= 2**-8
