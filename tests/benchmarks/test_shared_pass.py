"""The benchmark of the shared pass runs, and its two sides make the same step."""

import argparse

import pytest

from benchmarks import shared_pass

ARGUMENTS = argparse.Namespace(precision="float32", batch=1, size=16, rounds=1, steps=1)


@pytest.mark.slow
def test_both_sides_make_the_same_step():
    figures = shared_pass.race("rednet30wgan_cifar10", ARGUMENTS)
    assert figures["scalars_differ"] < 1e-3
    # Adam's first steps are of the size of the rate, 2e-4, wherever a gradient's sign is in doubt.
    assert figures["weights_differ"] < 5 * 2 * 2e-4
    assert figures["speedup"] > 0
    printed = shared_pass.table({"rednet30wgan_cifar10": figures}, ARGUMENTS)
    assert "rednet30wgan_cifar10" in printed


def test_a_recipe_without_a_critic_is_refused():
    with pytest.raises(SystemExit, match="has no critic"):
        shared_pass.race("unet16_cifar10", ARGUMENTS)
