"""Memory growth during training, and the time to start a run.

    python -m benchmarks.endurance --data data/cifar10

A small network trains for 5,000 steps with everything that a run does: reading, scalars,
validation, images, checkpoints. The memory of the process is sampled, and a line is fitted to the
second half, after buffers and caches have reached their size. The exit code is 1 if memory grows by
``--limit`` MiB or more per thousand steps.

Before that, the phases of a start are timed in a separate process, up to the first step, which
includes tracing and compilation, and the second step, which does not.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any


def main() -> int:
    """Runs the benchmark; returns 1 if memory grows beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder made by data_prep.build")
    parser.add_argument("--steps", type=int, default=5000, help="length of the run")
    parser.add_argument("--limit", type=float, default=1.0, help="MiB per thousand steps")
    parser.add_argument("--recipe", default="unet16_cifar10", help="recipe whose start is timed")
    parser.add_argument("--batch", type=int, default=8, help="batch size of that recipe")
    parser.add_argument("--phases-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phases_only:
        print(json.dumps(phases(arguments)))
        return 0
    words = [sys.executable, "-m", "benchmarks.endurance", *sys.argv[1:], "--phases-only"]
    answer = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout
    print("start of a run of", arguments.recipe)
    for name, seconds in json.loads(answer.splitlines()[-1]).items():
        print(f"  {name:44s}{seconds:8.2f} s")
    samples = watch(arguments)
    slope, start, end = fit(samples)
    print(
        f"memory over {arguments.steps:,} steps: {start:.1f} MiB in the middle, {end:.1f} MiB at "
        f"the end, {slope:+.3f} MiB in a thousand steps (limit {arguments.limit})"
    )
    return 0 if slope < arguments.limit else 1


def watch(arguments: argparse.Namespace) -> list[tuple[float, float]]:
    """Trains; returns samples of (steps done, MiB of memory)."""
    with tempfile.TemporaryDirectory() as folder:
        history = pathlib.Path(folder) / "run" / "history.csv"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tfdeblur.train", "--model", "unet16"),
                *("--model.width", "4", "--objective", "content", "--data", arguments.data),
                *("--workdir", str(history.parent), "--global-batch", "4"),
                *("--steps", str(arguments.steps), "--output.log-every", "50 steps"),
                *("--output.validate-every", "500 steps", "--output.validation-images", "32"),
                *("--save-every", "250 steps"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        samples: list[tuple[float, float]] = []
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        said = b""
        while process.poll() is None:
            time.sleep(0.2)
            said = (said + (process.stderr.read() or b""))[-2000:]
            rows = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
            memory = resident(process.pid)
            if len(rows) > 1 and memory:
                samples.append((int(rows[-1].split(",")[0]) / 4, memory))
        if process.returncode:
            sys.exit(said.decode(errors="replace"))
        return samples


def resident(pid: int) -> float:
    """Returns the resident memory of a process in MiB; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fit(samples: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Fits a line to the second half; returns MiB per thousand steps and the ends of the line."""
    import numpy as np

    steps, memory = np.array(samples).T
    late = steps > steps[-1] / 2
    slope, base = np.polyfit(steps[late], memory[late], 1)
    first, last = steps[late][0], steps[late][-1]
    return float(slope * 1000), float(base + slope * first), float(base + slope * last)


def phases(arguments: argparse.Namespace) -> dict[str, float]:
    """Times the phases of a start in this process, in seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    times: dict[str, float] = {}
    last = time.perf_counter()

    def done(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name], last = now - last, now

    from tfdeblur import config

    with tempfile.TemporaryDirectory() as folder:
        tree: dict[str, Any] = {"recipe": arguments.recipe, "workdir": folder}
        tree["data"] = {"paths": [arguments.data]}
        tree["training"] = {"global_batch": arguments.batch}
        resolved = config.resolve(tree)
        done("configuration, and Keras for its plug-ins")
        import tensorflow as tf

        done("TensorFlow")
        from tfdeblur.data import inputs
        from tfdeblur.training import trainer
        from tfdeblur.training.engines.tensorflow import runtime
        from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine

        done("the rest of the library")
        strategy = runtime.make_strategy(resolved.runtime.strategy)
        done("devices")
        data = inputs.open_training_data(resolved)
        done("data opened and checked")
        run = trainer.Trainer(resolved, train_data=data, engine=TensorFlowEngine(strategy))
        run.prepare()
        run.build()
        done("networks, optimizers, state")
        iterator = run.engine.batches(data, 0, run.plan)
        tf.nest.map_structure(lambda x: x, next(iterator))
        done("first batch")
        run.loop.run(iterator, run.step_images, [])
        done("first step (tracing and compiling)")
        run.loop.run(iterator, 2 * run.step_images, [])
        done("second step")
    times["sum"] = sum(times.values())
    return times


if __name__ == "__main__":
    sys.exit(main())
