"""Throughput of several workers, and the share of time spent on communication.

    python -m benchmarks.workers --recipe unet16_cifar10 --replica-batch 32

One, two and three processes on this machine, each with one thread for its ops, run the library's
training step over loopback with MultiWorkerMirroredStrategy. The batch per worker is fixed, so the
global batch grows with the workers. Then an all-reduce of as many bytes as the gradients have is
timed separately in the same job. Its share of a step is the share of time spent on communication,
provided that nothing overlaps; with more workers than cores the processes also wait for a core,
which the table notes, because the share then says nothing about communication.

The bytes also give an estimate for a ring of n chips: 2 (n - 1) / n times the bytes divided by the
bandwidth of a link, plus 2 (n - 1) times its latency. The published bandwidth of TPU v5e is 1,600
Gbit/s per chip over four links, of which a ring in one direction of the torus uses one; a latency
of one microsecond per hop is assumed. Steps on chips are not measured here: the table shows the
communication only, which should be short compared with a step.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

# TPU v5e: 1,600 Gbit/s per chip over four links.
LINK_BYTES_PER_SECOND = 1600e9 / 8 / 4
HOP_SECONDS = 1e-6
CHIPS = (8, 256)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="unet16_cifar10", help="recipe to train")
    parser.add_argument("--replica-batch", type=int, default=32, help="images per worker")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=10, help="timed steps per turn")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns")
    parser.add_argument("--out", help="JSON file for all results")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_worker:
        print(json.dumps(work(arguments)))
        return 0
    figures = [job(count) for count in arguments.workers]
    print(table(figures))
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0


def job(count: int) -> dict[str, Any]:
    """Starts the workers of one job and returns the first worker's measurements."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    processes = []
    for index in range(count):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workers", *sys.argv[1:], "--as-worker"],
                env={**os.environ, "TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"A worker of {count} failed.")
    return dict(json.loads(answers[0].splitlines()[-1]))


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures a step and the all-reduce of its gradients, as one worker of a job."""
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    from tfdeblur import config, models, objectives
    from tfdeblur.models import critics
    from tfdeblur.training.engines.engine import StepPlan
    from tfdeblur.training.engines.tensorflow import runtime
    from tfdeblur.training.engines.tensorflow.train_step import ReplicaStep
    from tfdeblur.training.state import TrainingState

    strategy = runtime.make_strategy("multi_worker")
    replicas = strategy.num_replicas_in_sync
    batch = arguments.replica_batch * replicas
    tree = {"workdir": "unused", "recipe": arguments.recipe, "training": {"global_batch": batch}}
    run_config = config.resolve(tree)
    runtime.seed_everything(0)
    objective = objectives.create(run_config.objective.name, run_config.objective.options)
    with strategy.scope():
        generator = models.create(run_config.model.name, run_config.model.options)
        chosen = run_config.critic
        built = {"critic": critics.create(chosen.name, chosen.options)} if chosen else {}
        objective.prepare()
        state = TrainingState(run_config, generator, built, total_images=10**9, epoch_images=10**6)
    step = ReplicaStep(objective, state, StepPlan(global_batch=batch))
    shape = (arguments.replica_batch, arguments.size, arguments.size, 3)
    rng = np.random.default_rng(0)
    pair = {
        kind: tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
        for kind in ("blurred", "sharp")
    }

    @tf.function
    def train() -> tf.Tensor:
        results = strategy.run(step, args=(pair,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, results["generator/loss"], axis=None)

    # Sums per step: the gradients of each network, once per update.
    shapes = [v.shape for m in objective.updates for v in state.networks[m].variables]

    def send() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.zeros(s) + 1.0 for s in shapes])
        return tf.add_n([tf.reduce_sum(value) for value in sums])

    @tf.function
    def communicate() -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(send), axis=None)

    times: dict[str, list[float]] = {"step": [], "sum": []}
    for _ in range(arguments.rounds):
        for name, function in (("step", train), ("sum", communicate)):
            function().numpy()
            begun = time.perf_counter()
            for _ in range(arguments.steps):
                function().numpy()
            times[name].append((time.perf_counter() - begun) / arguments.steps)
    return {
        "recipe": arguments.recipe,
        "workers": replicas,
        "replica_batch": arguments.replica_batch,
        "bytes": 4 * sum(int(np.prod(shape)) for shape in shapes),
        "updates": len(objective.updates),
        "cores": len(os.sched_getaffinity(0)),
        "step": statistics.median(times["step"]),
        "sum": statistics.median(times["sum"]) if replicas > 1 else 0.0,
    }


def ring_seconds(bytes_: int, sums: int, chips: int) -> float:
    """Returns the estimated seconds of all-reducing `bytes_` in `sums` parts over a ring."""
    turns = 2 * (chips - 1)
    return turns / chips * bytes_ / LINK_BYTES_PER_SECOND + sums * turns * HOP_SECONDS


def table(figures: list[dict[str, Any]]) -> str:
    """Returns the results as text."""
    first = figures[0]
    alone = first["workers"] * first["replica_batch"] / first["step"]
    lines = [
        f"{first['recipe']}, {first['replica_batch']} images a worker, "
        f"{first['bytes'] / 2**20:.1f} MiB of gradients a step, {first['cores']} cores",
        f"{'workers':>8s}{'step ms':>10s}{'images/s':>10s}{'of ideal':>10s}{'sum ms':>10s}"
        f"{'share':>8s}",
    ]
    for f in figures:
        rate = f["workers"] * f["replica_batch"] / f["step"]
        ideal = rate / (alone * f["workers"] / first["workers"])
        share = min(f["sum"] / f["step"], 1.0)
        note = "  more workers than cores" if f["workers"] > f["cores"] else ""
        lines.append(
            f"{f['workers']:8d}{1e3 * f['step']:10.1f}{rate:10.1f}{ideal:10.0%}"
            f"{1e3 * f['sum']:10.1f}{share:8.0%}{note}"
        )
    for chips in CHIPS:
        seconds = ring_seconds(first["bytes"], first["updates"], chips)
        lines.append(f"on paper, {chips} chips of TPU v5e in a ring: {1e3 * seconds:.2f} ms a step")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
