"""This library's side of `benchmarks.gpu_steps`: training steps of a recipe on JAX.

Answers requests on standard input, one JSON line each.
"""

import itertools
import tempfile
import time
from typing import Any

import jax
import numpy as np

from benchmarks import contestants
from tfdeblur import config
from tfdeblur.ops.precision import precision_scope
from tfdeblur.tpu import runs
from tfdeblur.training.engines.jax.engine import JaxEngine


def main() -> None:
    """Answers requests: first the case, then lines `{"steps": ...}`."""
    case = contestants.settings()
    tree: dict[str, Any] = {
        "recipe": case["recipe"],
        "workdir": "unused",
        "training": {"global_batch": case["batch"]},
        "runtime": {"strategy": "one", "precision": "bfloat16"},
    }
    run_config = config.resolve(tree, case["sections"])
    engine = JaxEngine()
    size = case["size"]
    with tempfile.TemporaryDirectory() as folder:
        run = runs.build(run_config, size, size, engine, folder)
    random = np.random.default_rng(0)
    shape = (case["batch"], size, size, 3)
    batch = {half: random.integers(0, 256, shape, np.uint8) for half in ("blurred", "sharp")}
    batches = itertools.repeat(jax.device_put(batch, jax.devices()[0]))

    def steps(request: dict[str, Any]) -> dict[str, float]:
        start = time.perf_counter()
        with precision_scope(run.policy):
            engine.run_steps(batches, request["steps"], 0)
        return {"seconds": time.perf_counter() - start}

    about = {
        "version": f"JAX {jax.__version__}",
        "device": jax.devices()[0].device_kind,
        "parameters": runs.count_parameters(run),
    }
    contestants.answer(about, steps)


if __name__ == "__main__":
    main()
