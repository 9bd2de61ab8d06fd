"""Time of each recipe's training step on two CPU cores, for the table of whole trainings.

    python -m benchmarks.cpu_steps [--recipes NAME ...]
    python -m tests.helpers.schedules

The first command measures the recipes that docs/cpu_steps.json lacks, each in a process of its own,
and writes the file after each, so it can be killed and started again; the second one updates
docs/recipes.md. Remove a row to measure it again. Nothing else should run meanwhile.

The step is the complete one of the recipe: its networks, critic, losses and samples, in float32, on
noise that is in memory. Its batch is the recipe's, or as many of its images as have 256x256 pixels
in all, at least one, because larger ones can take minutes and all memory. After an untimed step,
steps are timed until they have taken four seconds together; a large network's first one has.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tfdeblur.config import recipes
from tfdeblur.io import files, subprocesses

CORES = 2
PIXELS = 256 * 256
SECONDS = 4.0

_WORKER = "--worker"
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CONFIG": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTEROP_THREADS": str(CORES),
    "TF_NUM_INTRAOP_THREADS": str(CORES),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns 1 if a recipe could not be measured."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == [_WORKER]:
        return subprocesses.serve(measure, words)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=recipes.names(), help="all by default")
    parser.add_argument("--out", default="docs/cpu_steps.json", help="JSON file to complete")
    parser.add_argument("--limit", type=float, default=180, help="seconds that a recipe may take")
    arguments = parser.parse_args(words)
    rows = files.read_json(arguments.out) if files.exists(arguments.out) else []
    known = {row["name"] for row in rows}
    failed = False
    for name in (name for name in arguments.recipes if name not in known):
        reply = subprocesses.call(
            "benchmarks.cpu_steps",
            {"recipe": name},
            seconds=arguments.limit,
            environment=_ENVIRONMENT,
            command=(sys.executable, "-m", "benchmarks.cpu_steps", _WORKER),
        )
        if reply.error:
            print(f"{name}: {reply.error}", flush=True)
            failed = True
            continue
        row = {"name": name, **reply.values}
        rows = sorted([*rows, row], key=lambda row: row["name"])
        text = ",\n".join(json.dumps(row, sort_keys=True) for row in rows)
        files.write_text(arguments.out, f"[\n{text}\n]\n")
        print(f"{name}: {row['seconds']} s for {row['images']} of {row['size']}", flush=True)
    return int(failed)


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times the training step of a recipe.

    Args:
        request: `recipe`, its name.

    Returns:
        `size` (WIDTHxHEIGHT) and number of `images` of the step, the mean `seconds` that it takes,
        the number of `steps` that were timed, `cores` and `versions`.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from tfdeblur.tpu import runs
    from tfdeblur.tpu.targets import recipe_target
    from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

    target = recipe_target(request["recipe"])
    width, height = target.width, target.height
    images = min(target.batch, max(1, PIXELS // (width * height)))
    run_config = recipe_target(request["recipe"], global_batch=images).run_config
    runtime = dataclasses.replace(run_config.runtime, strategy="one", precision="float32")
    run_config = dataclasses.replace(run_config, runtime=runtime)
    engine = TensorFlowEngine()
    with tempfile.TemporaryDirectory() as folder:
        runs.build(run_config, height, width, engine, folder)
    rng = np.random.default_rng(0)
    shape = (images, height, width, 3)
    pair = {half: rng.integers(0, 256, shape, np.uint8) for half in ("blurred", "sharp")}
    batches = iter(tf.data.Dataset.from_tensors(pair).cache().repeat().prefetch(2))
    engine.run_steps(batches, 1, 0)  # traces
    seconds: list[float] = []
    while sum(seconds) < SECONDS:
        start = time.perf_counter()
        engine.run_steps(batches, 1, 0)
        seconds.append(time.perf_counter() - start)
    return {
        "size": f"{width}x{height}",
        "images": images,
        "seconds": float(f"{statistics.mean(seconds):.3g}"),
        "steps": len(seconds),
        "cores": CORES,
        "versions": {"TensorFlow": tf.__version__, "Keras": keras.__version__},
    }


if __name__ == "__main__":
    sys.exit(main())
