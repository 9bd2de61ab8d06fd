"""Training speed of REDNet30 on a CPU, compared with the same network in PyTorch.

    python -m benchmarks.train_step --torch-python /path/to/an/environment/bin/python

The step is the complete step of a training run: `training.loop.Loop` with uint8 pairs from a
tf.data iterator, range conversion, log-cosh loss, Adam, and the reported scalars. PyTorch runs the
same step eagerly, with channels-last memory and the fused Adam; see `benchmarks.rednet30_torch`.
Each library has its own process with the same number of threads. They alternate in turns of a few
steps, so that other load on the machine affects both equally; the other process is idle meanwhile.
The first step of a turn is not timed. Each round gives one ratio; the median over rounds is
reported. CPU time is reported beside the wall time and is steadier on a busy machine. PyTorch's
threads spin while they wait for each other, which costs several times the step on a busy machine;
`GOMP_SPINCOUNT=0` in the environment prevents that, but only ratios from an idle machine should be
quoted.

Targets on two cores with AVX-512 and AMX: float32 at least 0.95 of PyTorch's float32 speed, and
bfloat16 at least 1.3 of it.

Findings (TensorFlow 2.21, batch 32 of 32x32):

* Keras's `BatchNormalization` does not use TensorFlow's fused kernel but about twenty operations,
  in float32 even in a bfloat16 network: a third of the float32 step's work and, with the casts,
  more than half of the bfloat16 step's. `models.layers.BatchNormalization` calls the fused kernel
  in training; the bfloat16 step then took less than half the time.
* `Conv2DTranspose` of stride 1 equals `Conv2D` with mirrored weights; the latter has
  fused forms (bias and ELU inside the convolution) that the former lacks.
* XLA on the CPU (`runtime.xla: on`) does not use oneDNN's convolutions here and was 1.5 times
  slower.
* The allocator is no bottleneck: with memory kept between steps (`MALLOC_TRIM_THRESHOLD_`,
  huge pages) the step took as long.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import contestants

PRECISIONS = ("float32", "bfloat16")
MIN_SPEED = {"float32": 0.95, "bfloat16": 1.3}


def main() -> int:
    """Runs the benchmark; returns 1 if a target ratio was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--torch-python", help="Python of an environment with PyTorch; if unset, tfdeblur only"
    )
    parser.add_argument("--rounds", type=int, default=12, help="turns per contestant")
    parser.add_argument("--steps", type=int, default=3, help="timed steps per turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads per library")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--out", help="JSON file for all results")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return 0
    figures = race(arguments)
    print(table(figures))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    reached = figures["speed_against_torch_float32"]
    return 0 if all(reached[f"tfdeblur {p}"] >= MIN_SPEED[p] for p in PRECISIONS if reached) else 1


# --------------------------------------------------------------------------------------- comparison


class Worker(contestants.Worker):
    """A process that trains on request."""

    def milliseconds(self, precision: str, steps: int) -> dict[str, float]:
        """Returns the wall and CPU time per step, after an untimed step."""
        self.ask({"precision": precision, "steps": 1})
        answer: dict[str, float] = self.ask({"precision": precision, "steps": steps})
        return answer


@contextlib.contextmanager
def workers(arguments: argparse.Namespace) -> Iterator[dict[str, Worker]]:
    """Starts one process per library."""
    settings = {
        "precisions": PRECISIONS,
        "threads": arguments.threads,
        "batch": arguments.batch,
        "size": arguments.size,
    }
    commands = {"tfdeblur": [sys.executable, "-m", "benchmarks.train_step", "--worker"]}
    if arguments.torch_python:
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rednet30_torch.py")
        commands["torch"] = [arguments.torch_python, script]
    started: dict[str, Worker] = {}
    try:
        for name, command in commands.items():
            started[name] = Worker(command, settings)
        yield started
    finally:
        for worker in started.values():
            worker.close()


def race(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times the contestants in turns; returns all times and the ratios of their speeds."""
    times: dict[str, dict[str, list[float]]] = {"clock": {}, "cpu": {}}
    with workers(arguments) as started:
        about = {name: worker.about for name, worker in started.items()}
        counts = {a["trainable"] for a in about.values()}
        if len(counts) > 1:
            sys.exit(f"The networks differ: {about}.")
        turns = [(name, precision) for precision in PRECISIONS for name in started]
        for name, precision in turns:
            started[name].milliseconds(precision, 1)
        for number in range(arguments.rounds):
            # In reverse order every other round, so that no one always follows the same one.
            for name, precision in turns if number % 2 == 0 else turns[::-1]:
                worker = started[name]
                milliseconds = worker.milliseconds(precision, arguments.steps)
                for kind, by_name in times.items():
                    by_name.setdefault(f"{name} {precision}", []).append(milliseconds[kind])
    return {
        "about": about,
        "threads": arguments.threads,
        "batch": arguments.batch,
        "size": arguments.size,
        "milliseconds": times["clock"],
        "cpu_milliseconds": times["cpu"],
        "speed_against_torch_float32": ratios(times["clock"]),
        "cpu_speed_against_torch_float32": ratios(times["cpu"]),
    }


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Returns each contestant's median speed relative to PyTorch's float32."""
    reference = times.get("torch float32", [])
    return {
        name: statistics.median(r / v for r, v in zip(reference, values, strict=True))
        for name, values in times.items()
        if reference
    }


def table(figures: dict[str, Any]) -> str:
    """Returns the results as text."""
    versions = ", ".join(about["version"] for about in figures["about"].values())
    lines = [
        f"REDNet30, batch {figures['batch']} of {figures['size']}x{figures['size']}, "
        f"{figures['threads']} threads; {versions}",
        f"{'':20s}{'ms/step':>9s}{'least':>9s}{'most':>9s}{'speed':>7s}"
        f"{'CPU ms':>10s}{'by CPU':>8s}",
    ]
    for name, values in figures["milliseconds"].items():
        cpu = statistics.median(figures["cpu_milliseconds"][name])
        by_clock, by_cpu = (
            figures[f"{kind}speed_against_torch_float32"].get(name, math.nan)
            for kind in ("", "cpu_")
        )
        lines.append(
            f"{name:20s}{statistics.median(values):9.0f}{min(values):9.0f}{max(values):9.0f}"
            f"{by_clock:7.2f}{cpu:10.0f}{by_cpu:8.2f}"
        )
    return "\n".join(lines)


# ------------------------------------------------------------------------------- tfdeblur's process


def serve() -> None:
    """Reads settings and then requests from standard input; answers with JSON lines."""
    settings, version = contestants.start_tensorflow()
    trainers = {p: Trainer(p, settings["batch"], settings["size"]) for p in settings["precisions"]}
    trainable = trainers[settings["precisions"][0]].trainable
    contestants.answer(
        {"version": version, "trainable": trainable},
        lambda request: trainers[request["precision"]].run(request["steps"]),
    )


class Trainer:
    """The library's training loop, run repeatedly on one batch of noise."""

    def __init__(self, precision: str, batch: int, size: int) -> None:
        import numpy as np
        import tensorflow as tf

        from tfdeblur import config, models, objectives
        from tfdeblur.ops.precision import precision_scope
        from tfdeblur.training.engines.engine import StepPlan
        from tfdeblur.training.engines.tensorflow import runtime
        from tfdeblur.training.engines.tensorflow.engine import TensorFlowEngine
        from tfdeblur.training.loop import Loop
        from tfdeblur.training.state import TrainingState

        run_config = config.resolve(
            {"workdir": "unused", "recipe": "rednet30_cifar10", "training": {"global_batch": batch}}
        )
        strategy = runtime.make_strategy("one")
        runtime.seed_everything(0)
        objective = objectives.create(run_config.objective.name, run_config.objective.options)
        policy = runtime.resolve_precision("bfloat16" if precision == "bfloat16" else "float32")
        with precision_scope(policy), strategy.scope():
            generator = models.create(run_config.model.name, run_config.model.options)
            self._state = TrainingState(
                run_config, generator, total_images=10**9, epoch_images=10**6
            )
        engine = TensorFlowEngine(strategy)
        engine.compile(self._state, objective, StepPlan(batch))
        self._batch = batch
        self._loop = Loop(
            engine,
            self._state,
            step_images=batch,
            epoch_images=10**6,
            steps_per_loop=10**6,
        )
        shape = (batch, size, size, 3)
        rng = np.random.default_rng(0)
        pair = {k: rng.integers(0, 256, shape, dtype=np.uint8) for k in ("blurred", "sharp")}
        data = tf.data.Dataset.from_tensors(pair).cache().repeat().prefetch(2)
        self._iterator = iter(strategy.experimental_distribute_dataset(data))
        self.trainable = sum(int(np.prod(v.shape)) for v in generator.network.trainable_variables)

    def run(self, steps: int) -> dict[str, float]:
        """Returns the average wall and CPU milliseconds per step."""
        goal = self._state.images_seen + steps * self._batch
        start, start_cpu = time.perf_counter(), time.process_time()
        self._loop.run(self._iterator, goal, hooks=[])
        clock, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        return {"clock": clock / steps * 1e3, "cpu": cpu / steps * 1e3}


if __name__ == "__main__":
    sys.exit(main())
