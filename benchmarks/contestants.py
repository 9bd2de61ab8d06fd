"""Benchmarks of two libraries: one process per library, which works on request and idles otherwise.

The benchmark starts a `Worker` with settings and sends it requests; the worker's program reads its
settings with `settings` and then calls `answer`. Each message is one line of JSON. This module
needs neither TensorFlow nor PyTorch, which are never loaded into one process.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Worker:
    """A library in a process of its own.

    Args:
        command: Command of the process.
        settings: Sent to the process as its first message.
        environment: Environment variables in addition to those of this process.

    Attributes:
        about: The answer to the settings, such as versions.
    """

    def __init__(self, command: list[str], settings: dict[str, Any], **environment: str) -> None:
        self._name = " ".join(command)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **environment},
        )
        self.about: dict[str, Any] = self.ask(settings)

    def ask(self, request: dict[str, Any]) -> Any:
        """Returns the answer to a request."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self._name} ended early.")
        return json.loads(answer)

    def close(self) -> None:
        """Kills the process, because a regular exit of TensorFlow takes seconds."""
        self._process.kill()
        self._process.wait()


def settings() -> dict[str, Any]:
    """Reads the settings, the first line of standard input."""
    found: dict[str, Any] = json.loads(sys.stdin.readline())
    return found


def start_tensorflow() -> tuple[dict[str, Any], str]:
    """Reads the settings, and limits TensorFlow to their `threads`; also returns the versions."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = settings()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(given["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(given["threads"])
    return given, f"TensorFlow {tf.__version__} with Keras {keras.__version__}"


def answer(about: dict[str, Any], function: Callable[[dict[str, Any]], Any]) -> None:
    """Sends `about`, then answers requests until standard input ends."""
    print(json.dumps(about), flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(function(json.loads(line))), flush=True)


def timed(request: dict[str, Any], restore: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Restores the image of a request.

    Args:
        request: `image`, an .npy file of float32 [H, W, 3]; `out`, the .npy file for the result,
            or an empty string.
        restore: From an image to the restored one.

    Returns:
        The seconds taken, and the peak memory of the process so far in GiB.
    """
    image = np.load(request["image"])
    start = time.perf_counter()
    restored = restore(image)
    seconds = time.perf_counter() - start
    if request["out"]:
        np.save(request["out"], restored)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak}
