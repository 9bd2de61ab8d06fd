"""Runs a program under JAX, on the CPU, in a process of its own."""

import os
import subprocess
import sys


def run(program, repository, *arguments):
    """Runs Python code with Keras on JAX, and fails with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
