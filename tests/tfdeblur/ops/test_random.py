import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdeblur.ops.random import draw, draw_tensor, key_of, subkey, subkey_tensor

keys = st.integers(0, 2**64 - 1)


def test_draws_match_reference_splitmix64():
    # The first outputs of the reference implementation for the state 0.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert [subkey(0, n) for n in range(4)] == expected
    np.testing.assert_array_equal(draw(0, np.arange(4)), [value >> 1 for value in expected])


@given(key=keys, first=st.integers(0, 2**62))
@settings(max_examples=20, deadline=None)
def test_draws_in_a_graph_equal_numpy(key, first):
    indices = np.arange(first, first + 50)
    np.testing.assert_array_equal(draw_tensor(key, tf.constant(indices)), draw(key, indices))
    below = subkey_tensor(key, tf.constant(first, tf.int64))
    assert int(below) == subkey(key, first)
    np.testing.assert_array_equal(
        draw_tensor(below, tf.constant(indices)), draw(subkey(key, first), indices)
    )


def test_draws_are_uniform():
    shares = draw(key_of(3), np.arange(100_000)) / 2.0**63
    counts = np.histogram(shares, 20, (0, 1))[0]
    assert abs(counts - 5000).max() < 300


def test_keys_of_different_seeds_and_indices_differ():
    indices = [(), (0,), (1,), (0, 1)]
    assert len({key_of(seed, *below) for seed in range(20) for below in indices}) == 80
