"""The step of all devices is traced with JAX and compiled."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tfdeblur.tpu import compiling

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason='requires JAX: pip install "tfdeblur[jax]"'
)

PROGRAM = """
import json, sys
import jax
from tfdeblur import config
from tfdeblur.tpu import program
from tfdeblur.training.engines import cluster

replies = []
for tree in json.loads(sys.argv[1]):
    devices = cluster.sharing(jax.devices(), tree["training"]["global_batch"])
    lowered, about = program.lower(config.resolve(tree), 16, 16, devices)
    reply = program.compile_lowered(lowered, about["devices"])
    replies.append({**about, **reply, "text": lowered.as_text()})
print(json.dumps(replies))
"""

TINY = {
    "workdir": "w",
    "model": {"name": "srresnet", "width": 4, "blocks": 1},
    "objective": {"name": "content", "losses": {"mae": 1.0}},
}
GAN = {
    **TINY,
    "objective": {"name": "wgan_gp", "losses": {"mae": 1.0}, "critic_updates": 3},
    "critic": {"name": "patch_gan", "width": 4, "layers": 1},
}


def lower(*trees):
    """Compiles the steps of runs for eight CPU devices, in a process of their own."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(trees)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_steps_of_all_devices():
    perceptual = {"name": "content", "losses": {"perceptual": 1.0}}
    perceptual["perceptual"] = {"layer": "block1_conv2"}
    content, again, idle, gan, parts, blank = lower(
        {**TINY, "training": {"global_batch": 16}},
        {**TINY, "training": {"global_batch": 16}},
        {**TINY, "training": {"global_batch": 6}},
        {**GAN, "training": {"global_batch": 16}},
        {**TINY, "training": {"global_batch": 16, "replica_batch": 1}},
        {**TINY, "objective": perceptual, "training": {"global_batch": 16}},
    )
    assert content["text"] == again["text"] != parts["text"]
    assert (content["images"], content["devices"]) == (16, 8)
    assert (idle["images"], idle["devices"]) == (6, 6)
    # Weights and the optimizer's moments are updated in place.
    assert content["memory"]["aliased"] > 0.9 * content["memory"]["outputs"]
    # At least the gradients are summed over devices.
    sent = sum(size for kind, size in content["sent"].items() if kind.startswith("all-reduce"))
    assert sent >= 2 * 7 / 8 * 2 * content["parameters"]
    assert content["flops"] > 0 and content["seconds"] > 0
    # Three updates of the critic are one loop, two micro-batches another.
    once, multiplications = gan["counted"]["once"], gan["counted"]["multiplications"]
    assert once < sum(multiplications.values()) < 3 * once
    assert gan["parameters"] > content["parameters"]
    counts = [sum(one["counted"]["multiplications"].values()) for one in (content, parts)]
    assert counts[0] == counts[1]
    assert parts["counted"]["once"] < counts[0]
    # VGG19 is an argument, not a constant of the program.
    assert blank["memory"]["arguments"] > content["memory"]["arguments"] + 64 * 64 * 9


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_step_of_a_recipe_compiles_for_a_tpu_slice(tmp_path):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip('libtpu is not installed: pip install "tfdeblur[preflight]"')
    from tfdeblur import preflight
    from tfdeblur.config import settings

    flags = {"recipe": "unet16_cifar10", "tpu": ["v5e-8"], "cache": str(tmp_path)}
    options = settings.validate(preflight.PreflightConfig, flags)
    (row,) = preflight.run(options)
    assert row.error == "" and row.fits
    assert (row.devices, row.images) == (8, 256)
    assert row.share > 0.9
    gradients = 2 * 7 / 8 * 2 * row.parameters
    assert gradients * 0.9 < sum(row.sent.values()) < 2.2 * gradients
    assert 0 < row.needed < 2**30
    assert row.versions.keys() == {"keras", *compiling.versions()}
    # Again, from the cache.
    assert preflight.run(options) == [row]
