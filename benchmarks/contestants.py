"""Two libraries side by side: a process for each, which works on request and waits in between.

The referee starts a `Worker` with settings and asks it; a contestant's program reads its settings
with `settings` and then calls `answer`. Every message is one line of JSON. Nothing here needs
TensorFlow or PyTorch, which never meet in one process.
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
    """A contestant, as the referee sees it.

    Args:
        command: Its program.
        settings: What it is to do.
        environment: Variables beside those of this process.

    Attributes:
        about: What it said of itself.
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
        """Ends the process, which has nothing to save; TensorFlow's own end takes seconds."""
        self._process.kill()
        self._process.wait()


def settings() -> dict[str, Any]:
    """Reads a contestant's settings, its first line."""
    found: dict[str, Any] = json.loads(sys.stdin.readline())
    return found


def limit_tensorflow(threads: int) -> None:
    """Gives TensorFlow as many threads; before it has started."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def answer(about: dict[str, Any], function: Callable[[dict[str, Any]], Any]) -> None:
    """Says what a contestant is, and answers requests until there are no more."""
    print(json.dumps(about), flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(function(json.loads(line))), flush=True)


def timed(request: dict[str, Any], restore: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Restores the image of a request.

    Args:
        request: `image`, an .npy file of float32 [H, W, 3]; `out`, where the result is written, or
            nothing.
        restore: From an image to the restored one.

    Returns:
        The seconds that it took, and the peak of the process's memory until now in GiB.
    """
    image = np.load(request["image"])
    start = time.perf_counter()
    restored = restore(image)
    seconds = time.perf_counter() - start
    if request["out"]:
        np.save(request["out"], restored)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak}
