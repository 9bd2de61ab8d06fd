"""Training steps at every width from 1 to 32 neither crash nor corrupt memory."""

import ctypes.util
import os
import subprocess
import sys

import pytest

from tests.helpers.tiny_models import TINY
from tfdeblur import config

# Kernels of a CPU library that write past a buffer crash much later, if at all. The C library's
# debugging allocator ends the process at the next call instead.
DEBUG_ALLOCATOR = "libc_malloc_debug.so.0"

PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
from tfdeblur import models
from tfdeblur.errors import ConfigError

name, options = sys.argv[1], eval(sys.argv[2])
images = tf.constant(np.random.default_rng(0).random((1, 32, 32, 3), np.float32))
for width in range(1, 33):
    try:
        network = models.create(name, {**options, "width": width}).network
    except ConfigError:
        continue  # the model does not offer this width

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(network(images, training=True))
            loss = tf.add_n([tf.reduce_mean(output**2) for output in outputs])
        return tape.gradient(loss, network.trainable_variables)

    print(width, flush=True)
    assert all(np.isfinite(value).all() for value in gradients())
"""
FEWEST_BLOCKS = {**TINY, "ms_deblur": {"scales": 2, "blocks": 1}}


def has_width(name: str) -> bool:
    return "width" in config.MODELS.options(name).__dataclass_fields__


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in config.MODELS.names() if has_width(name)])
def test_training_step_at_any_width_does_not_crash(name, repository):
    options = {key: value for key, value in FEWEST_BLOCKS.get(name, {}).items() if key != "width"}
    environment = dict(os.environ)
    if sys.platform == "linux" and ctypes.util.find_library("c"):
        environment |= {
            "LD_PRELOAD": DEBUG_ALLOCATOR,
            "GLIBC_TUNABLES": "glibc.malloc.check=3",
        }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, repr(options)],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"width {done.stdout.split()[-1:]}: {done.stderr[-2000:]}"
