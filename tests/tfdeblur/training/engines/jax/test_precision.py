"""Steps of runs in float32 multiply in full precision, which TPUs and GPUs do not by default."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.tiny_models import TINY

pytest.importorskip("jax")

import jax  # after the check for JAX

from tests.tfdeblur.training.engines.jax.products import summary


@jax.custom_jvp
def squared(a):
    return a @ a


@squared.defjvp
def _(primals, tangents):
    (a,), (b,) = primals, tangents
    return squared(a), a @ b + b @ a


def nested(a):
    """One product in each kind of operation that has a jaxpr of its own."""
    a = jax.jit(lambda a: a @ a)(a)
    a, _ = jax.lax.scan(lambda a, _: (a @ a, None), a, None, length=2)
    a = jax.lax.while_loop(lambda a: a[0, 0] < 1, lambda a: a @ a, a)
    a = jax.lax.cond(a[0, 0] < 1, lambda a: a @ a, lambda a: a, a)
    a = jax.checkpoint(lambda a: a @ a)(a)
    return squared(a)


def test_products_in_loops_and_functions_are_found():
    shape = jax.ShapeDtypeStruct((3, 3), "float32")
    found = summary([jax.make_jaxpr(nested)(shape)])
    assert found["counts"] == {"dot_general": 6}
    assert len(found["rounded"]) == 6
    assert {"scan", "while", "cond"} <= set(found["around"])
    with jax.default_matmul_precision("float32"):
        found = summary([jax.make_jaxpr(nested)(shape)])
    assert found["counts"] == {"dot_general": 6} and not found["rounded"]


def test_products_of_16_bits_are_not_counted():
    shape = jax.ShapeDtypeStruct((3, 3), "bfloat16")
    assert not summary([jax.make_jaxpr(nested)(shape)])["counts"]


TRACE = """
import json, sys, tempfile
import jax
from tests.tfdeblur.training.engines.jax.products import summary
from tfdeblur import config
from tfdeblur.ops.precision import precision_scope
from tfdeblur.tpu import runs
from tfdeblur.tpu.program import DetachedEngine

replies = []
for tree in json.loads(sys.argv[1]):
    engine = DetachedEngine(jax.devices())
    with tempfile.TemporaryDirectory() as folder:
        run = runs.build(config.resolve(tree), 16, 16, engine, folder)
        with precision_scope(run.policy):
            traced = engine.trace(16, 16)
    replies.append({"policy": run.policy, **summary([traced.jaxpr])})
print(json.dumps(replies))
"""

FLOAT32 = {
    "workdir": "w",
    "training": {"global_batch": 4},
    "runtime": {"precision": "float32"},
}
CONTENT = {
    **FLOAT32,
    # Its attention has matrix products beside the convolutions.
    "model": {"name": "restormer", **TINY["restormer"]},
    "objective": {"name": "content", "losses": {"mse": 1.0}},
}
WGAN_GP = {
    **FLOAT32,
    "model": {"name": "srresnet", "width": 4, "blocks": 1},
    "objective": {"name": "wgan_gp", "losses": {"mse": 1.0}, "critic_updates": 2},
    "critic": {"name": "patch_gan", "width": 4, "layers": 1},
}
# Loops over micro-batches, and activations that are computed again.
PARTS = {**WGAN_GP, "training": {"global_batch": 4, "replica_batch": 1, "remat": True}}


@pytest.mark.slow
def test_steps_in_float32_multiply_in_full_precision(repository):
    done = subprocess.run(
        [sys.executable, "-c", TRACE, json.dumps([CONTENT, WGAN_GP, PARTS])],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content, gan, parts = json.loads(done.stdout.splitlines()[-1])
    for reply in (content, gan, parts):
        assert reply["policy"] == "float32"
        assert reply["rounded"] == []
        # At least a pass, and its gradients by the image and by the kernel.
        assert reply["counts"]["conv_general_dilated"] > 10
    assert content["counts"]["dot_general"] >= 3
    # The critic's updates are a loop, and with micro-batches loops in it.
    assert "scan" in gan["around"] and "scan" in parts["around"]
