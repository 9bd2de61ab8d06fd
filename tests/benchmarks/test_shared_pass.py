"""The benchmark of the shared pass runs, and its two variants compute the same step."""

import argparse

import pytest

from benchmarks import shared_pass

ARGUMENTS = argparse.Namespace(precision="float32", batch=1, size=16, rounds=1, steps=1)


@pytest.mark.slow
def test_race_of_both_variants_computes_the_same_step():
    figures = shared_pass.race("rednet30wgan_cifar10", ARGUMENTS)
    assert figures["scalars_differ"] < 1e-3
    # Where a gradient's sign is uncertain, Adam's first updates differ by the learning rate, 2e-4.
    assert figures["weights_differ"] < 5 * 2 * 2e-4
    assert figures["speedup"] > 0
    printed = shared_pass.table({"rednet30wgan_cifar10": figures}, ARGUMENTS)
    assert "rednet30wgan_cifar10" in printed


def test_race_of_a_recipe_without_a_critic_exits():
    with pytest.raises(SystemExit, match="unet16_cifar10"):
        shared_pass.race("unet16_cifar10", ARGUMENTS)
